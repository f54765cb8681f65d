"""The injector: an application that is not changed, behind a Service that is not changed, asks for tokens."""

import json
import re
import time

from client import Client
from cluster import HERE, CommandFailed, eventually
from documents import blocks

POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
ANNOTATIONS = {"vestibule.dev/inject": "true", "vestibule.dev/instance": "shop-vestibule"}
RATE = 40
"""Requests a second of each of two streams: enough to notice a gap, and no load."""
RESTARTS = 2
DOCUMENT = "docs/injection.md"


def injection(cluster, part):
    if not has_policies(cluster):
        part.skip("the injector", "this Kubernetes is older than 1.36 and has no MutatingAdmissionPolicy")
        return
    ns = cluster.namespace("injection")
    ns.kubectl("apply", f"--filename={HERE}/legacy.yaml")
    host = f"legacy.{ns.name}.svc"
    client = Client(ns, f"{host}:80")
    ns.rolled_out("legacy")
    answer = client.ask(url=f"http://{host}/")
    part.check(answer.status == 200 and "GET / HTTP/1.1" in answer.body, "before: anybody is answered", answer)
    part.check(token_in_application(ns), "before: the application has a token of the service account")
    service = ns.get("service", "legacy")
    template = ns.get("deployment", "legacy")["spec"]["template"]

    install_charts(cluster, ns, host, part)
    password = ns.vestibule("users", "add", "apiUser", "--group", "Administrator", "--generate", secret="shop-vestibule-users")
    patch = {"spec": {"template": {"metadata": {"annotations": ANNOTATIONS}}}}
    ns.kubectl("patch", "deployment", "legacy", "--type=merge", f"--patch={json.dumps(patch)}")
    ns.rolled_out("legacy")
    settled(ns, part)

    protected(ns, client, host, password, part)
    unchanged(ns, service, template, part)
    tokens_moved(ns, part)
    restarts(ns, client, password, part)
    probes_are_green(ns, part)
    a_job_completes(ns, part)
    taken_away(cluster, ns, client, host, part)


def has_policies(cluster):
    served = cluster.run("kubectl", "api-resources", "--api-group=admissionregistration.k8s.io", "--no-headers")
    return any(line.startswith("mutatingadmissionpolicies ") and "/v1 " in line for line in served.splitlines())


def install_charts(cluster, ns, host, part):
    """By the document's line, for this namespace alone, so that nobody else's pods are looked at."""
    ours = "--selector=app.kubernetes.io/name=vestibule-injector"
    others = cluster.run("kubectl", "get", "mutatingadmissionpolicies", ours, "--output=name")
    part.check(not others, "no other injector is here", others)
    ns.install("shop", {"selector": {"app": "legacy"}, "tls": {"hosts": [host]}})
    line = next(text for language, text in blocks(DOCUMENT, None) if language == "sh")
    line = re.sub(r"--set image\.repository=\S+", "", line).replace("charts/", f"{HERE.parents[1]}/charts/")
    command = [cluster.id if word == "vestibule-injector" else word for word in line.split()]
    cluster.release(cluster.id)
    values = {"image": cluster.image_values(), "namespaceSelector": {"matchLabels": {"vestibule-test": cluster.id}}}
    cluster.run(*command, "--values=-", stdin=json.dumps(values))
    begun = time.monotonic()
    in_force = eventually(lambda: in_force_now(cluster.elsewhere), 60, pause=0.1)
    part.check(in_force, "the policies are in force: an unknown annotation is refused")
    part.figure(f"policies: in force {time.monotonic() - begun:.1f} s after `helm install` has ended")


def in_force_now(ns):
    """A policy counts from when the API server has read it."""
    try:
        ns.kubectl("run", "probe", "--image=none", "--dry-run=server", "--annotations=vestibule.dev/probe=")
    except CommandFailed as error:
        return "vestibule.dev/probe is not known" in str(error)
    return False


def untouched_now(ns):
    """The API server forgets the policy that puts the sidecar in and the one that refuses each in its own time."""
    annotated = ("--annotations=vestibule.dev/inject=true", "--annotations=vestibule.dev/port=8080")
    try:
        pod = ns.kubectl("run", "probe", "--image=none", "--dry-run=server", "--output=json", *annotated)
    except CommandFailed:
        return False
    return "initContainers" not in json.loads(pod)["spec"]


def settled(ns, part):
    """Only the new pods are left."""
    alone = eventually(lambda: len(ns.get("pods", "--selector=app=legacy")["items"]) == 2, 90)
    part.check(alone, "the pods of before are gone")
    for pod in ns.pods("app=legacy"):
        names = [container["name"] for container in pod["spec"].get("initContainers", [])]
        part.check(names == ["vestibule"], f"{pod['metadata']['name']} has the sidecar", names)


def protected(ns, client, host, password, part):
    client.trust(certificate(ns))
    plain = client.ask(url=f"http://{host}/")
    part.check(plain.status in (0, 400), "after: without TLS nobody is answered", plain)
    part.check((answer := client.ask("/")).status == 401, "after: 401 without a token, through the same Service", answer)
    part.check((answer := client.ask("/", "x.y.z")).status == 401, "after: 401 with a token that is none", answer)
    token = client.login("apiUser", password)
    answer = client.ask("/", token)
    part.check(answer.status == 200, "after: 200 with a token, through the same Service", answer)
    part.check("X-Forwarded-User: apiUser" in answer.body, "and the application is told who asks", answer.body)
    slices = ns.get("endpointslices", "--selector=kubernetes.io/service-name=legacy")["items"]
    ports = {port["port"] for each in slices for port in each["ports"]}
    ready = [end for each in slices for end in each["endpoints"] if end["conditions"].get("ready")]
    part.check(ports == {10443} and len(ready) == 2, "the Service leads to both sidecars, not to the application's port", slices)
    pod = ns.pods("app=legacy")[0]["status"]["podIP"]
    metrics = client.ask(url=f"http://{pod}:10444/metrics").body
    part.check("vestibule_upstream_exposed 1" in metrics, "the sidecar tells that the application's port is open in the pod")
    direct = client.ask(url=f"http://{pod}:8080/")
    what = "the NetworkPolicy closes the application's own port"
    if direct.status == 200:
        part.skip(what, "this cluster's network enforces no NetworkPolicies")
    else:
        part.check(direct.status == 0, what, direct)


def certificate(ns):
    return ns.kubectl("get", "secret", "shop-vestibule-tls", "--output=go-template={{index .data \"ca.crt\" | base64decode}}")


def unchanged(ns, service, template, part):
    now = ns.get("service", "legacy")
    same = now["metadata"]["resourceVersion"] == service["metadata"]["resourceVersion"]
    part.check(same and now["spec"] == service["spec"], "the Service has not been touched", now)
    now = ns.get("deployment", "legacy")["spec"]["template"]
    part.check(now["metadata"].pop("annotations") == ANNOTATIONS, "the Deployment has two annotations more", now)
    template["metadata"].pop("annotations", None)
    part.check(now == template, "and is what it was otherwise", now)


def tokens_moved(ns, part):
    part.check(not token_in_application(ns), "after: no token of the service account in the application's containers")
    for pod in ns.pods("app=legacy"):
        spec = pod["spec"]
        volumes = {v["name"] for v in spec["volumes"] if any("serviceAccountToken" in s for s in v.get("projected", {}).get("sources", []))}
        holders = [
            container["name"]
            for container in spec["initContainers"] + spec["containers"]
            if volumes & {mount["name"] for mount in container.get("volumeMounts", [])}
        ]
        part.check(holders == ["vestibule"], f"{pod['metadata']['name']}: the sidecar alone has one", holders)


def token_in_application(ns):
    script = f"if [ -e {POD_TOKEN} ]; then echo yes; else echo no; fi"
    name = ns.pods("app=legacy")[0]["metadata"]["name"]
    return ns.kubectl("exec", name, "--container=shell", "--", "sh", "-c", script).strip() == "yes"


def restarts(ns, client, password, part):
    token = client.login("apiUser", password)
    with client.stream(token, RATE, kept=False) as single, client.stream(token, RATE, kept=True) as kept:
        part.check(single.wait_for(RATE) and kept.wait_for(RATE), "requests come in, on new connections and on kept ones")
        for _ in range(RESTARTS):
            ns.kubectl("rollout", "restart", "deployment/legacy")
            ns.rolled_out("legacy")
            # The old ones end after they are no longer asked.
            part.check(eventually(lambda: len(ns.get("pods", "--selector=app=legacy")["items"]) == 2, 90), "a rollout restart is done")
        last = len(single.answers), len(kept.answers)
        part.check(single.wait_for(last[0] + RATE) and kept.wait_for(last[1] + RATE), "requests have come in all the while")
    for stream, how in ((single, "a connection for each"), (kept, "kept connections")):
        failed = stream.failed()
        part.check(not failed, f"{RESTARTS} rollout restarts: {len(stream.answers)} requests, each answered with 200, {how}", failed)


def probes_are_green(ns, part):
    for pod in ns.pods("app=legacy"):
        statuses = pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"]
        part.check(
            all(status["ready"] and status["restartCount"] == 0 for status in statuses),
            f"{pod['metadata']['name']}: probes are green, nothing was started twice", statuses,
        )  # fmt: skip
    bad = [
        event["message"]
        for event in ns.get("events", "--field-selector=reason=Unhealthy")["items"]
        if "Liveness" in event["message"]
    ]
    part.check(not bad, "no liveness probe ever failed", bad)


def a_job_completes(ns, part):
    ns.kubectl("apply", f"--filename={HERE}/job.yaml")
    ns.kubectl("wait", "--for=condition=Complete", "job/import", "--timeout=120s")
    pod = ns.get("pods", "--selector=app=import")["items"][0]
    sidecar = pod["status"]["initContainerStatuses"][0]
    part.check(
        sidecar["name"] == "vestibule" and sidecar["state"]["terminated"]["exitCode"] == 0,
        "a Job with the sidecar completes, and the sidecar ends with 0", sidecar,
    )  # fmt: skip


def taken_away(cluster, ns, client, host, part):
    before = {name: ns.secret(name) for name in ("shop-vestibule-users", "shop-vestibule-keys", "shop-vestibule-tls")}
    cluster.run("helm", "uninstall", cluster.id)
    part.check(eventually(lambda: untouched_now(cluster.elsewhere), 60), "the policies are gone")
    ns.kubectl("rollout", "restart", "deployment/legacy")
    ns.rolled_out("legacy")
    without = eventually(lambda: all("initContainers" not in pod["spec"] for pod in ns.pods("app=legacy")))
    part.check(without, "the injector uninstalled: annotated pods start as before")
    answer = eventually(lambda: (found := client.ask(url=f"http://{host}/")).status == 200 and found, 30)
    part.check(answer, "and anybody is answered again")
    part.check(all(ns.secret(name) == secret for name, secret in before.items()), "users, keys and certificate stand")
