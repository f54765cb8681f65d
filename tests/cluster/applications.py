"""What several parts install: an application in the chart, with a certificate of its own where it needs one."""

import base64

from cluster import object_of

WHOAMI = {
    "enabled": True,
    "image": {"repository": "docker.io/traefik/whoami", "tag": "v1.11.0"},
    "args": ["--port=8080"],
    "port": 8080,
    "securityContext": {"runAsUser": 65532},
}


def selector(release):
    return f"app.kubernetes.io/instance={release},app.kubernetes.io/name=vestibule"


def given_certificate(ns, *hosts):
    """Makes the Secret `given`, and the values that name it; the certificate itself (PEM)."""
    folder = ns.cluster.folder / ns.name
    folder.mkdir()
    names = ",".join(f"DNS:{host}" for host in hosts)
    ns.cluster.run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=test", "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE",
        "-keyout", folder / "tls.key", "-out", folder / "tls.crt",
    )  # fmt: skip
    data = {name: base64.b64encode((folder / name).read_bytes()).decode() for name in ("tls.crt", "tls.key")}
    ns.apply(object_of("v1", "Secret", {"name": "given"}, type="kubernetes.io/tls", data=data))
    return {"source": "secret", "secret": "given", "hosts": list(hosts)}, (folder / "tls.crt").read_text()


def add_user(ns, release, name="apiUser"):
    """The password."""
    group = ("--group", "Administrator", "--generate")
    return ns.vestibule("users", "add", name, *group, secret=f"{release}-vestibule-users")


def status_of(ns, release, container="vestibule"):
    """Of the sidecar's container in the release's one pod; None where there is not one pod."""
    pods = ns.pods(selector(release))
    if len(pods) != 1:
        return None
    statuses = pods[0]["status"].get("initContainerStatuses", []) + pods[0]["status"].get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == container), None)
