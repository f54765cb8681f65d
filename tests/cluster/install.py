"""docs/install.md, pasted: an application in the chart; then upgrade, rollback, uninstallation, installation again."""

import hashlib
import json
import re
import socket

import figures
from client import Client
from cluster import Namespace, eventually
from documents import Shell, blocks

DOCUMENT = "docs/install.md"
SECRETS = ["api-vestibule-users", "api-vestibule-keys", "api-vestibule-tls"]
DEPLOYMENT, PODS = "deployment/api-vestibule", "app.kubernetes.io/instance=api,app.kubernetes.io/name=vestibule"


def install(cluster, part):
    ns = Namespace(cluster, cluster.name("install"))
    with Shell(cluster, cluster.folder / "install", adaptation(cluster, ns)) as shell:
        follow(shell, part)
        tested(ns, part)
        port_of_its_own(cluster, shell, part)
        client = Client(ns, f"api-vestibule.{ns.name}.svc")
        client.trust(shell.read("ca.crt"))
        token = client.login("apiUser", shell.read("password"))
        figures.tell(ns, client, "api-vestibule", PODS, part)
        stands(ns, client, shell, token, part)
        shell.paste(the_block(blocks(DOCUMENT, "Taking it away"), "kubectl delete secret"))
        left = ns.kubectl("get", "secret", *SECRETS, "--ignore-not-found", "--output=name")
        part.check(not left, "what the document deletes in the end are all Secrets that were left", left)


def adaptation(cluster, ns):
    """The document's names are this run's: of the namespace, of the image, and of the port on this machine."""
    image = cluster.image_values()
    lines = "\n  ".join(f"{name}: {json.dumps(value)}" for name, value in image.items())
    port = str(free_port())

    def adapt(text):
        text = text.replace("repository: registry.example.org/vestibule", lines)
        # This machine is busier than that of anybody who follows a document.
        text = text.replace("sleep 3", "sleep 8")
        return re.sub(r"\b10443\b", port, re.sub(r"\bshop\b", ns.name, text))

    return adapt


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def follow(shell, part):
    for language, text in blocks(DOCUMENT, "Five minutes"):
        # The plugin is what runs these tests: it is there.
        if "cargo install" in text:
            continue
        part.step(f"{DOCUMENT}: {text.splitlines()[0][:70]}")
        match language:
            case "yaml":
                shell.file("values.yaml", text)
            case "console":
                shell.converse(text)
            case _:
                shell.paste(text)
    shell.paste("printf %s \"$PASSWORD\" >password")
    part.check(True, f"{DOCUMENT}: its lines end in 401 without a token, and the application's answer with one")


def tested(ns, part):
    """What the document has `helm test` ask."""
    said = ns.kubectl("logs", "api-vestibule-test-request")
    part.check("With the token: 200." in said, "helm test: 401, a login, 200 from inside the cluster", said)


def port_of_its_own(cluster, shell, part):
    """The document's probe of the application's port, from another namespace."""
    said = shell.paste(the_block(blocks(DOCUMENT, "The application's own port"), "kubectl run probe") + " || true")
    what = "the NetworkPolicy closes the application's own port"
    if "Hostname:" in said:
        part.skip(what, "this cluster's network enforces no NetworkPolicies")
    else:
        part.check("timed out" in said or "onnect" in said, what, said)


def the_block(found, word):
    return next(text.rstrip("\n") for _, text in found if word in text)


def stands(ns, client, shell, token, part):
    """Nothing that Helm does touches what is in the Secrets; and each time, users and tokens are good as before."""
    before = secrets(ns)
    part.step("Secrets: " + ", ".join(f"{name} {state['resourceVersion']}" for name, state in before.items()))
    pods = 1
    for what, command in (
        ("upgrade", "helm upgrade api charts/vestibule --namespace shop --values values.yaml --set replicas=2,config.limits.inFlight=50"),
        ("rollback", "helm rollback api 1 --namespace shop"),
        ("uninstall", "helm uninstall api --namespace shop"),
        ("installation again", "helm install api charts/vestibule --namespace shop --values values.yaml"),
    ):  # fmt: skip
        shell.paste(command)
        if what == "uninstall":
            gone = eventually(lambda: not ns.get("pods", f"--selector={PODS}")["items"], 90)
            part.check(gone, "uninstall: the pods go")
        else:
            pods = 2 if what == "upgrade" else 1
            ns.rolled_out("api-vestibule")
            there = eventually(lambda: len(ns.get("pods", f"--selector={PODS}")["items"]) == pods, 90)
            part.check(there, f"{what}: {pods} pods", ns.get("pods", f"--selector={PODS}")["items"])
            part.check(client.ask("/", token).status == 200, f"{what}: the token from before is good")
            again = client.ask("/authorize", user=f"apiUser:{shell.read('password')}", method="POST")
            part.check(again.status == 200, f"{what}: and so is the password", again)
        now = secrets(ns)
        part.check(now == before, f"{what}: users, keys and certificate stand", f"{before} {now}")
        versions = ", ".join(state["resourceVersion"] for state in now.values())
        part.step(f"{what}: data as before, resourceVersion {versions}")


def secrets(ns):
    found = {}
    for name in SECRETS:
        secret = ns.secret(name)
        data = hashlib.sha256(json.dumps(secret.get("data"), sort_keys=True).encode()).hexdigest()
        found[name] = {"data": data} | {key: secret["metadata"][key] for key in ("uid", "resourceVersion")}
    return found
