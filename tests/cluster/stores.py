"""Users and keys in a cluster: mounted, with the CronJob that rotates keys; watched, with sidecars that do it themselves."""

import base64
import json
import time

import applications
from applications import WHOAMI, add_user, selector
from client import Client
from cluster import eventually

SECONDS = {"mounted": 45, "watched": 15}
"""How long a key signs: a test can see it rotating."""
TOKENS = {"ttl": "3m", "maxTtl": "3m"}
KUBELET_SECONDS = 150
"""The most until a mounted Secret is brought."""
ROTATIONS_SECONDS = 150
SCHEDULE, SCHEDULE_SECONDS = "* * * * *", 90
"""And the most until the Job of such a schedule is there."""
BY_SCHEDULE = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""Only the CronJob's controller writes it."""
REFUSED_SECONDS = 5
"""By then a disabled user has to be refused; mostly it is a small part of one."""


def mounted(cluster, part):
    ns = cluster.namespace("mounted")
    host = f"api-vestibule.{ns.name}.svc"
    tls, certificate = applications.given_certificate(ns, host)
    ns.install("api", {
        "store": "mounted", "tls": tls, "application": WHOAMI, "config": configuration(SECONDS["mounted"]),
        # `scheduled` waits for one.
        "rotation": {"schedule": "0 0 1 1 *"},
    })  # fmt: skip
    client = Client(ns, host)
    client.trust(certificate)
    password = add_user(ns, "api")
    no_rights(ns, part)
    job(ns, "first-key")
    made = time.monotonic()
    kids = keys(ns)
    part.check(len(kids) == 1, "the CronJob's first run makes the first key", kids)
    job(ns, "too-early")
    part.check(keys(ns) == kids, "a run before it is time changes nothing", keys(ns))
    ns.rolled_out("api-vestibule")
    token = client.login("apiUser", password)
    part.check(client.ask("/", token).status == 200, "store: mounted: 200 with a token")
    part.check(client.ask("/").status == 401, "store: mounted: 401 without")

    time.sleep(max(0, made + SECONDS["mounted"] + 1 - time.monotonic()))
    job(ns, "due")
    both = keys(ns)
    part.check(len(both) == 2 and kids < both, "a run when it is time publishes a second key", both)
    signed = eventually(lambda: kid(client.login("apiUser", password)) in both - kids, KUBELET_SECONDS, pause=2)
    part.check(signed, "kubelet brings it, and the sidecar signs with it")
    part.check(client.ask("/", token).status == 200, "the token of the first key is good")


def configuration(seconds):
    return {"keys": {"rotateEvery": f"{seconds}s", "propagation": "5s"}, "tokens": TOKENS}


def no_rights(ns, part):
    pod = eventually(lambda: ns.pods(selector("api")))[0]["spec"]
    tokens = [
        volume
        for volume in pod["volumes"]
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
    ]
    part.check(not tokens, "store: mounted: no container has a token of the service account", tokens)
    account = f"--as=system:serviceaccount:{ns.name}:{pod['serviceAccountName']}"
    rights = ns.cluster.run("kubectl", "auth", "can-i", "--list", account, f"--namespace={ns.name}")
    part.check("secrets" not in rights, "and it has no rights on Secrets", rights)


def job(ns, name):
    ns.kubectl("create", "job", name, "--from=cronjob/api-vestibule-rotation")
    ns.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=120s")


def keys(ns):
    """Their ids."""
    data = ns.secret("api-vestibule-keys").get("data", {})
    if "keys.jwks" not in data:
        return set()
    return {key["kid"] for key in json.loads(base64.b64decode(data["keys.jwks"]))["keys"]}


def kid(token):
    head = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def scheduled(cluster, part):
    """Nobody but its schedule starts the CronJob."""
    ns = cluster.namespace("scheduled")
    tls, _ = applications.given_certificate(ns, "api.test")
    ns.install("api", {"store": "mounted", "tls": tls, "rotation": {"schedule": SCHEDULE}})
    begun = time.monotonic()
    name = eventually(lambda: job_by_schedule(ns), SCHEDULE_SECONDS)
    part.check(name, "the CronJob's schedule makes a Job", ns.kubectl("describe", "cronjobs"))
    part.step(f"after {time.monotonic() - begun:.0f} s")
    ns.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=120s")
    kids = keys(ns)
    part.check(len(kids) == 1, "which completes, and has made the first key", kids)


def job_by_schedule(ns):
    """Its name."""
    for found in ns.get("jobs")["items"]:
        metadata = found["metadata"]
        owners = [(owner["kind"], owner["name"]) for owner in metadata.get("ownerReferences", [])]
        if owners == [("CronJob", "api-vestibule-rotation")] and BY_SCHEDULE in metadata.get("annotations", {}):
            return metadata["name"]
    return None


def watched(cluster, part):
    ns = cluster.namespace("watched")
    ns.install("api", {"application": WHOAMI, "config": configuration(SECONDS["watched"]), "replicas": 2})
    client = Client(ns, f"api-vestibule.{ns.name}.svc")
    password = add_user(ns, "api")
    ns.rolled_out("api-vestibule")
    client.trust(ns.kubectl("get", "secret", "api-vestibule-tls", "--output=go-template={{index .data \"ca.crt\" | base64decode}}"))
    rotating(ns, client, password, part)
    disabled(ns, client, password, part)


def rotating(ns, client, password, part):
    """Each token is good on both pods for as long as it lasts, whatever key it is of."""
    tokens, answers, deadline = {}, [], time.monotonic() + ROTATIONS_SECONDS
    while len(tokens) < 3 and time.monotonic() < deadline:
        token = client.login("apiUser", password)
        tokens[kid(token)] = token
        answers += [client.ask("/", each) for each in tokens.values()]
        time.sleep(2)
    part.check(len(tokens) >= 3, "the sidecars rotate the keys, twice", list(tokens))
    bad = [answer for answer in answers if answer.status != 200]
    part.check(not bad, f"{len(answers)} requests meanwhile with tokens of all three keys, none refused", bad)
    secret = ns.get("secret", "api-vestibule-keys", "--show-managed-fields")
    operations = {(field["manager"], field["operation"]) for field in secret["metadata"]["managedFields"]}
    rotations = {"ok": 0.0, "conflict": 0.0, "error": 0.0}
    for pod in ns.pods(selector("api")):
        text = client.ask(url=f"http://{pod['status']['podIP']}:10444/metrics").body
        for line in text.splitlines():
            for result in rotations:
                if line.startswith(f'vestibule_key_rotations_total{{result="{result}"}}'):
                    rotations[result] += float(line.split()[-1])
    right = rotations["ok"] >= 2 and rotations["error"] == 0 and ("vestibule", "Update") in operations
    part.check(right, f"each by one patch: {rotations}; who has written: {sorted(operations)}", secret)


def disabled(ns, client, password, part):
    token = client.login("apiUser", password)
    with client.stream(token, 50, kept=True) as stream:
        part.check(stream.wait_for(25), "requests come in")
        begun = time.monotonic()
        ns.vestibule("users", "disable", "apiUser", secret="api-vestibule-users")
        ended = time.monotonic()
        refused = eventually(lambda: [at for at, status, _ in stream.answers if status == 401], REFUSED_SECONDS + 5, pause=0.02)
        part.check(refused, "a user who is disabled is refused", stream.answers[-3:])
        took = refused[0] - ended
        stream.wait_for(len(stream.answers) + 25)
        late = [status for at, status, _ in stream.answers if at > refused[0] + 1 and status == 200]
    part.figure(
        f"users disable: refused {1000 * max(took, 0):.0f} ms after the command's end, {1000 * (refused[0] - begun):.0f} ms "
        "after its start"
    )
    part.check(took < REFUSED_SECONDS and not late, f"within {REFUSED_SECONDS} s, on both pods", (took, late))
    part.check(client.ask("/authorize", user=f"apiUser:{password}", method="POST").status == 401, "and cannot log in")
