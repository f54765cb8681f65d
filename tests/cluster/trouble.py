"""Pods in trouble: a Secret is not there yet; the sidecar runs out of memory; it starts again while the API server is away."""

import base64
import json
import os
import shlex
import subprocess
import time

import applications
from applications import WHOAMI, add_user, selector, status_of
from client import Client
from cluster import CommandFailed, eventually

DEAR = "$argon2id$v=19$m=65536,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""The hash that takes the most memory of all that are accepted: 64 MiB, more than the limit leaves here."""
LIMIT = "48Mi"
WAITING_SECONDS = 40
"""Longer than the liveness probe bears what it would not pass."""
AWAY = ("VESTIBULE_CLUSTER_API_STOP", "VESTIBULE_CLUSTER_API_START")
END_AFTER, AWAY_SECONDS = 12, 32
"""Seconds from the preparation until the sidecar is told to end, and how long the API server is away after that began."""


def waiting(cluster, part):
    """The Secret of the users is not the chart's, and is made when the sidecar has waited for a while."""
    ns = cluster.namespace("waiting")
    ns.install("api", {"application": WHOAMI, "users": {"create": False, "secret": "people"}})
    client = Client(ns, f"api-vestibule.{ns.name}.svc")
    runs = eventually(lambda: (found := status_of(ns, "api", "application")) and "running" in found["state"], 120)
    part.check(runs, "without the users' Secret, sidecar and application are started", ns.pods(selector("api")))
    pod = ns.only_pod(selector("api"))
    name, admin = pod["metadata"]["name"], f"http://{pod['status']['podIP']}:10444"
    missing = f"Secret {ns.name}/people is not there: "
    pending = eventually(lambda: only_line(client.ask(url=f"{admin}/readyz"), f"users: {missing}"))
    part.check(pending, "/readyz: 503, and one line that names it", client.ask(url=f"{admin}/readyz"))
    log = ns.kubectl("logs", name, "--container=vestibule")
    said = [event for event in map(json.loads, log.splitlines()) if event["event"] == "store_failed"]
    named = [event for event in said if event["reason"] == "missing" and missing in event["error"]]
    part.check(named, "so does the log", log[-2000:])
    time.sleep(WAITING_SECONDS)
    part.check(not ready_now(ns, name), f"{WAITING_SECONDS} s later the pod is not ready")

    ns.cluster.run(*shlex.split(pending.partition(missing)[2].strip("`")))
    made = time.monotonic()
    part.check(eventually(lambda: ready_now(ns, name), 60), f"{pending.partition(missing)[2]}, and the pod is ready")
    part.figure(f"the missing Secret is made: the pod is ready {time.monotonic() - made:.1f} s later")
    status = status_of(ns, "api")
    part.check(status["restartCount"] == 0, "nobody has started it again", status)
    client.trust(ns.kubectl("get", "secret", "api-vestibule-tls", "--output=go-template={{index .data \"ca.crt\" | base64decode}}"))
    password = ns.vestibule("users", "add", "apiUser", "--group", "Administrator", "--generate", secret="people")
    # Not often: wrong passwords are throttled.
    granted = eventually(lambda: client.ask("/authorize", user=f"apiUser:{password}", method="POST").status == 200, 30, pause=5)
    part.check(granted, "and a user who is added logs in")


def only_line(answer, begin):
    """The one line of a /readyz that is not ready, where it begins so."""
    lines = answer.body.splitlines()
    return answer.status == 503 and len(lines) == 1 and lines[0].startswith(begin) and lines[0]


def memory(cluster, part):
    ns = cluster.namespace("memory")
    ns.install("api", {"application": WHOAMI, "sidecar": {"resources": {"limits": {"memory": LIMIT}}}})
    client = Client(ns, f"api-vestibule.{ns.name}.svc")
    password = add_user(ns, "api")
    ns.rolled_out("api-vestibule")
    client.trust(ns.kubectl("get", "secret", "api-vestibule-tls", "--output=go-template={{index .data \"ca.crt\" | base64decode}}"))
    token = client.login("apiUser", password)
    part.check(client.ask("/", token).status == 200, "200 with a token")
    application = status_of(ns, "api", "application")["containerID"]

    document = {"users": {"dear": {"groups": ["Administrator"], "passwords": [{"hash": DEAR}]}}}
    entry = base64.b64encode(json.dumps(document).encode()).decode()
    change(ns, {"dear.yaml": entry})
    time.sleep(2)
    # Not often: wrong passwords are throttled.
    ends = eventually(lambda: client.ask("/authorize", user="dear:x", method="POST").status == 0, 30, pause=5)
    lost = time.monotonic()
    change(ns, {"dear.yaml": None})
    part.check(ends, f"a hash of 64 MiB under a limit of {LIMIT} ends the sidecar")
    back = eventually(lambda: client.ask("/", token).status == 200, 60, pause=0.1)
    part.check(back, f"it is back after {time.monotonic() - lost:.1f} s, and the token from before is good")
    status = eventually(lambda: (found := status_of(ns, "api")) and "terminated" in found["lastState"] and found, 30)
    part.check(status["lastState"]["terminated"]["reason"] == "OOMKilled", "the kernel has killed it for want of memory", status)
    part.check(status_of(ns, "api", "application")["containerID"] == application, "the application has not been started again")


def change(ns, entries):
    ns.kubectl("patch", "secret", "api-vestibule-users", "--type=merge", f"--patch={json.dumps({'data': entries})}")


def outage(cluster, part):
    """Prepares two pods, and returns what is done when nobody else needs the API server."""
    if not all(name in os.environ for name in AWAY):
        part.skip("a start without the API server", f"{' and '.join(AWAY)} do not say how it is stopped and started here")
        return None
    ns = cluster.namespace("outage")
    host = f"given-vestibule.{ns.name}.svc"
    tls, certificate = applications.given_certificate(ns, host)
    ns.install("given", {"application": WHOAMI, "tls": tls})
    ns.install("managed", {"application": WHOAMI})
    client = Client(ns, host)
    client.trust(certificate)
    password = add_user(ns, "given")
    add_user(ns, "managed")
    for release in ("given", "managed"):
        ns.rolled_out(f"{release}-vestibule")
        # New pods find users and keys in what is mounted, which kubelet would bring to the old ones later.
        ns.kubectl("rollout", "restart", f"deployment/{release}-vestibule")
    for release in ("given", "managed"):
        ns.rolled_out(f"{release}-vestibule")
    pods = {release: ns.only_pod(selector(release))["metadata"]["name"] for release in ("given", "managed")}
    part.step("prepared")
    return lambda: without_api_server(ns, client, password, pods, part)


def without_api_server(ns, client, password, pods, part):
    token = client.login("apiUser", password)
    address = ns.get("service", "given-vestibule")["spec"]["clusterIP"]
    begun = time.time()
    for pod in pods.values():
        end_later(ns, pod)
    # It writes down what it sees, as nobody can look at it meanwhile.
    lines = [*client._lines, f'header = "Authorization: Bearer {token}"', f'url = "https://{client.host}/"']
    lines.append(f'resolve = "{client.host}:443:{address}"')
    client.shell("cat >/tmp/poll", stdin="\n".join(lines))
    client.shell(POLL)
    shell(os.environ[AWAY[0]])
    try:
        gone = eventually(lambda: not answers(ns), 30)
        stopped = time.time()
        part.check(gone and stopped < begun + END_AFTER, "the API server is stopped before the sidecars are told to end", stopped - begun)
        time.sleep(max(0, begun + AWAY_SECONDS - time.time()))
    finally:
        started = time.time()
        shell(os.environ[AWAY[1]])
    part.check(eventually(lambda: answers(ns), 60), f"and is back after {time.time() - stopped:.0f} s")
    seen = [line.split() for line in client.shell("touch /tmp/enough; sleep 3; cat /tmp/seen").splitlines()]
    polls = [(float(at), float(up), int(status)) for at, up, status in seen]
    told_by_given(ns, pods["given"], polls, stopped, started, part)
    told_by_managed(ns, pods["managed"], part)


POLL = """
(n=0
while [ $n -lt 400 ] && [ ! -e /tmp/enough ]; do
  n=$((n + 1)); read -r up rest </proc/uptime
  echo "$(date +%s) $up $(curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' --config /tmp/poll)"
  sleep 0.1
done >/tmp/seen 2>&1) </dev/null >/dev/null 2>&1 &
"""


def told_by_given(ns, pod, polls, stopped, started, part):
    """Requests through the Service, all the while."""
    away = [(up, status) for at, up, status in polls if stopped + 1 <= at < started]
    bad = [up for up, status in away if status != 200]
    good = [up for up, status in away if status == 200]
    part.check(good and bad and good[0] < bad[0], "without the API server requests are served, until the sidecar ends", away[:3])
    part.check(good[-1] > bad[-1], "started without the API server, it serves from the mounted Secrets: 200 with the token", away[-5:])
    back = next(up for up in good if up > bad[-1])
    part.figure(
        f"a sidecar that starts without an API server: {back - bad[0]:.1f} s until it serves again, {len(good)} of {len(away)} "
        "requests answered"
    )
    status = eventually(lambda: status_restarted(ns, pod), 60)
    part.check(status and status["lastState"]["terminated"]["exitCode"] == 0, "it was ended and started in its place", status)
    log = ns.kubectl("logs", pod, "--container=vestibule")
    said = [event for event in map(json.loads, log.splitlines()) if event["event"] == "store_failed"]
    part.check(said, "it has said what it could not read", log[-2000:])
    part.step(f"it says: {said[0]['message']}: {said[0]['error']}")
    ready = eventually(lambda: ready_now(ns, pod), 60)
    part.check(ready, "with the API server back, the pod is ready")


def told_by_managed(ns, pod, part):
    """Its certificate is in a Secret alone."""
    status = eventually(lambda: status_restarted(ns, pod), 60)
    part.check(status, "tls.managed: the sidecar was ended and started in its place", status)
    log = ns.kubectl("logs", pod, "--container=vestibule")
    waits = [event for event in map(json.loads, log.splitlines()) if "managed-vestibule-tls" in event.get("error", "")]
    part.check(waits, "tls.managed: without the API server it says which Secret it waits for", log[-2000:])
    part.step(f"tls.managed says: {waits[0]['message']}: {waits[0]['error']}")
    part.check(eventually(lambda: ready_now(ns, pod), 90), "tls.managed: with the API server back, the pod is ready")


def status_restarted(ns, pod):
    found = ns.get("pod", pod)["status"]["initContainerStatuses"][0]
    return found["restartCount"] == 1 and "terminated" in found["lastState"] and found


def ready_now(ns, pod):
    conditions = ns.get("pod", pod)["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def end_later(ns, name):
    """Tells the sidecar to end, from within the pod: by a container that sees its process and is the same user."""
    pod = ns.get("pod", name)
    pod["spec"]["ephemeralContainers"] = [{
        "name": "end", "image": "docker.io/curlimages/curl:8.17.0", "targetContainerName": "vestibule",
        "command": ["sh", "-c", f"sleep {END_AFTER}; kill -TERM 1"],
        "securityContext": {
            "runAsUser": 65532, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    }]  # fmt: skip
    path = f"/api/v1/namespaces/{ns.name}/pods/{name}/ephemeralcontainers"
    ns.kubectl("replace", "--raw", path, "--filename=-", stdin=json.dumps(pod))


def answers(ns):
    try:
        return ns.cluster.run("kubectl", "get", "--raw=/readyz", "--request-timeout=2s") == "ok"
    except CommandFailed:
        return False


def shell(command):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise CommandFailed(f"{command} ends with {done.returncode}: {done.stdout}{done.stderr}")
