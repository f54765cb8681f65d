"""A real API server and etcd on loopback, which tests/kubernetes/build builds: started, asked, restarted, measured."""

import base64
import http.client
import json
import os
import re
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import tools
from stage import NotStarted, free_port, stop, why_ended
from tools import ROOT, Missing, last_line, tell

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
START = 90
ISSUER = "https://kubernetes.default.svc"
# Another process may take a port between our choice and our use of it.
ATTEMPTS = 3


class Refused(Exception):
    """The API server has answered with an error; the text is one line."""


def binaries() -> Path:
    """The folder of the programs, built where they are not.

    Raises Missing.
    """
    named = os.environ.get("VESTIBULE_CONTROL_PLANE")
    if named:
        folder = Path(named)
        absent = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
        if absent:
            mend = "name the folder that tests/kubernetes/build prints"
            raise Missing(f"VESTIBULE_CONTROL_PLANE={named}: there is no {absent[0]} that can be run: {mend}")
        return folder
    tell("tests/kubernetes/build")
    built = subprocess.run([ROOT / "tests/kubernetes/build"], capture_output=True, text=True)
    if built.returncode != 0:
        raise Missing(f"there is no control plane: {last_line(built.stderr)}")
    return Path(built.stdout.strip().splitlines()[-1])


@dataclass(frozen=True)
class Figures:
    """What the API server says of itself (its /metrics) at one moment."""

    cpu: float
    resident: int
    watches: int
    # All requests that have ended, of anybody; a watch counts when it ends.
    requests: int
    rejected: int


class ControlPlane:
    """Both programs, and their administrator."""

    def __init__(self, programs: Path, folder: Path):
        self.programs, self.folder = programs, folder
        self._etcd = self._api_server = None
        self._here = threading.local()
        self._keys()

    def start(self) -> None:
        """Raises NotStarted."""
        for attempt in range(ATTEMPTS):
            self.port, self.etcd_port, self._peer_port = free_port(), free_port(), free_port()
            try:
                self._start_etcd()
                self.start_api_server()
                return
            except NotStarted as error:
                self.close()
                if "busy" not in str(error) or attempt == ATTEMPTS - 1:
                    raise

    def close(self) -> None:
        for process in (self._api_server, self._etcd):
            if process is not None:
                stop(process)
        self._api_server = self._etcd = None

    @property
    def pids(self) -> dict[str, int]:
        return {"API server": self._api_server.pid, "etcd": self._etcd.pid}

    def start_api_server(self) -> float:
        """Starts it and waits until it is ready; returns when it was, in seconds since the epoch.

        Raises NotStarted.
        """
        log = self.folder / "kube-apiserver.log"
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            # Addresses for documentation: nothing is ever sent there.
            "advertise-address": "192.0.2.1",
            "service-cluster-ip-range": "198.51.100.0/24",
            "endpoint-reconciler-type": "none",
            "cert-dir": self.folder / "unused",
            "tls-cert-file": self.folder / "server.crt",
            "tls-private-key-file": self.folder / "server.key",
            "client-ca-file": self.folder / "ca.crt",
            "anonymous-auth": "false",
            "authorization-mode": "RBAC",
            "service-account-issuer": ISSUER,
            "service-account-key-file": self.folder / "accounts.pub",
            "service-account-signing-key-file": self.folder / "accounts.key",
            "audit-policy-file": self.folder / "audit.yaml",
            "audit-log-path": self.audit_log,
            "audit-log-maxsize": 1000,
            "v": 1,
        }
        log.write_text("")
        self._api_server = self._spawn("kube-apiserver", [f"--{name}={value}" for name, value in flags.items()], log)
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if self._api_server.poll() is not None:
                raise NotStarted(f"kube-apiserver: {_reason(log, self.port)}")
            try:
                self.ask("GET", "/readyz")
                return time.time()
            except (OSError, http.client.HTTPException, Refused):
                time.sleep(0.05)
        raise NotStarted(f"kube-apiserver is not ready after {START} s; its log: {last_line(log.read_text(errors='replace'))}")

    def stop_api_server(self, grace: float) -> None:
        """As kubelet does: by SIGTERM, at which it stops listening and lets watches go on, and after a while by force."""
        self._api_server.terminate()
        try:
            self._api_server.wait(grace)
        except subprocess.TimeoutExpired:
            self._api_server.kill()
            self._api_server.wait()

    def ask(self, method: str, path: str, body: dict | None = None, patience: float = 30) -> bytes:
        """A request of the administrator's, on this thread's own connection.

        Raises Refused, OSError, http.client.HTTPException.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else json.dumps(body)
        for fresh in (False, True):
            connection = None if fresh else getattr(self._here, "connection", None)
            if connection is None:
                fresh = True
                connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self._tls, timeout=patience)
                self._here.connection = connection
            try:
                connection.request(method, path, content, {"Content-Type": kind, "Accept": "*/*"})
                answer = connection.getresponse()
                read = answer.read()
                break
            except (OSError, http.client.HTTPException):
                connection.close()
                self._here.connection = None
                # One that was kept open may be over.
                if fresh:
                    raise
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {last_line(read)}")
        return read

    def secret(self, namespace: str, name: str, entries: dict[str, str]) -> None:
        """Makes a Secret."""
        made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, **_data(entries)}
        self.ask("POST", f"/api/v1/namespaces/{namespace}/secrets", made)

    def set(self, namespace: str, name: str, entries: dict[str, str]) -> None:
        """Sets entries of a Secret."""
        self.ask("PATCH", f"/api/v1/namespaces/{namespace}/secrets/{name}", _data(entries))

    def entry(self, namespace: str, name: str, entry: str) -> str:
        read = json.loads(self.ask("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}"))
        return base64.b64decode(read["data"][entry]).decode()

    def account(self, namespace: str, users: list[str], keys: str) -> Path:
        """A namespace with a service account that has the rights of deploy/rbac.yaml and no others: its kubeconfig."""
        manifests = (ROOT / "deploy/rbac.yaml").read_text()
        for name, value in {"NAMESPACE": namespace, "NAME": "vestibule", "USERS": ", ".join(users), "KEYS": keys}.items():
            manifests = manifests.replace("${" + name + "}", value)
        self.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        apply = [self.programs / "kubectl", "--kubeconfig", self._kubeconfig("admin", self._administrator), "apply", "-f", "-"]
        applied = subprocess.run([*apply, "--validate=false"], input=manifests, capture_output=True, text=True, timeout=60)
        if applied.returncode != 0:
            raise Refused(f"kubectl apply: {last_line(applied.stderr)}")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 6 * 3600}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/vestibule/token"
        token = json.loads(self.ask("POST", path, review))["status"]["token"]
        return self._kubeconfig(namespace, {"token": token}, namespace)

    def figures(self) -> Figures:
        text = self.ask("GET", "/metrics").decode()
        return Figures(
            cpu=total(text, "process_cpu_seconds_total"),
            resident=int(total(text, "process_resident_memory_bytes")),
            watches=int(total(text, "apiserver_longrunning_requests", resource="secrets", verb="WATCH")),
            requests=int(total(text, "apiserver_request_total")),
            rejected=int(total(text, "apiserver_flowcontrol_rejected_requests_total")),
        )

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def _start_etcd(self) -> None:
        log = self.folder / "etcd.log"
        log.write_text("")
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        flags = ["--name=one", f"--data-dir={self.folder / 'etcd'}", "--log-level=warn", f"--initial-cluster=one={peer}"]
        flags += [f"--{kind}-client-urls={client}" for kind in ("listen", "advertise")]
        flags += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        self._etcd = self._spawn("etcd", flags, log)
        time.sleep(0.2)
        if self._etcd.poll() is not None:
            raise NotStarted(f"etcd: {_reason(log, self.etcd_port)}")

    def _spawn(self, name: str, flags: list[str], log: Path) -> subprocess.Popen:
        with log.open("ab") as out:
            try:
                return subprocess.Popen(
                    [self.programs / name, *flags], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
                )
            except OSError as error:
                raise NotStarted(f"{name} cannot be run: {error.strerror}") from None

    def _keys(self) -> None:
        """One authority for all; the administrator, the server, and the key of service accounts' tokens."""
        new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split()
        self._openssl("req", "-x509", "-days", "2", *new, "-subj", "/CN=fleet", "-keyout", "ca.key", "-out", "ca.crt")
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
        for name, subject, lines in (
            ("server", "/CN=kube-apiserver", ["extendedKeyUsage=serverAuth", names]),
            ("admin", "/O=system:masters/CN=admin", ["extendedKeyUsage=clientAuth"]),
        ):
            (self.folder / f"{name}.ext").write_text("\n".join([*lines, "basicConstraints=critical,CA:FALSE"]))
            self._openssl("req", "-new", *new, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
            by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext"]
            self._openssl("x509", "-req", "-in", f"{name}.csr", *by, "-out", f"{name}.crt")
        self._openssl(*"genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out accounts.key".split())
        self._openssl(*"pkey -in accounts.key -pubout -out accounts.pub".split())
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
        }
        (self.folder / "audit.yaml").write_text(json.dumps(policy))
        self._tls = ssl.create_default_context(cafile=self.folder / "ca.crt")
        self._tls.load_cert_chain(self.folder / "admin.crt", self.folder / "admin.key")
        read = {part: base64.b64encode((self.folder / f"admin.{part}").read_bytes()).decode() for part in ("crt", "key")}
        self._administrator = {"client-certificate-data": read["crt"], "client-key-data": read["key"]}

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run([tools.program("openssl"), *arguments], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"openssl {arguments[0]}: {last_line(done.stderr)}: install OpenSSL 3")

    def _kubeconfig(self, name: str, user: dict, namespace: str = "default") -> Path:
        authority = base64.b64encode((self.folder / "ca.crt").read_bytes()).decode()
        server = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority-data": authority}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fleet", "cluster": server}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": "fleet", "user": name, "namespace": namespace}}],
            "current-context": name,
        }
        file = self.folder / f"{name}.kubeconfig"
        file.touch(0o600)
        file.write_text(json.dumps(document))
        return file


def total(text: str, name: str, **labels: str) -> float:
    """The sum of one metric over the series that have these labels, in Prometheus' text format."""
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    found = 0.0
    for line in re.findall(rf"^{name}(?:\{{.*\}})? .*$", text, re.MULTILINE):
        series, _, value = line.rpartition(" ")
        if all(label in series for label in wanted):
            found += float(value)
    return found


def _data(entries: dict[str, str]) -> dict:
    return {"data": {name: base64.b64encode(text.encode()).decode() for name, text in entries.items()}} if entries else {}


def _reason(log: Path, port: int) -> str:
    # The last line may be one of a stack.
    said = [line for line in log.read_text(errors="replace").splitlines() if re.search(r"\berror\b|fatal|panic", line, re.I)]
    reason = why_ended(log, port)
    return reason if "busy" in reason or not said else f"it ended: {last_line(said[-1])}"
