"""Who is compared: how each is configured for the same work, started and stopped."""

import json
import ssl
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import client
import tools
from configurations import envoy_bootstrap, haproxy_configuration, kubeconfig, nginx_configuration, vestibule_configuration
from measure import on_cpu
from stage import NotStarted, Stage, files, free_port, stop, wait_for, why_ended


@dataclass(frozen=True)
class Work:
    """What a peer is started for."""

    # "http", or "h2c": HTTP/2 without TLS, for gRPC.
    upstream: str = "http"
    # Whether clients speak HTTP/2.
    http2: bool = False
    log: bool = False
    algorithm: str = "HS512"
    files: int = 4096
    # Vestibule's alone.
    rules: int = 0
    groups: int = 1
    users: int = 1
    keys: int = 1
    workers: int = 1
    connections: int | None = None
    # Users that can log in with the stage's password.
    accounts: int = 0


def accounts(count: int) -> list[str]:
    return [f"account-{n}" for n in range(count)]


class Cannot(Exception):
    """A peer that does not know this kind of work; the text says why."""


@dataclass
class Running:
    """A peer that listens."""

    peer: "Peer"
    work: Work
    process: subprocess.Popen
    port: int
    token: str | None
    log: Path
    # Seconds from its start to its first proxied answer, by the clock and of CPU time.
    ready: float = 0
    ready_cpu: float = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def stop(self) -> None:
        stop(self.process)
        # Logs of millions of requests would fill the disk.
        with suppress(OSError):
            self.log.unlink()


class Peer:
    """One of those that are compared."""

    name: str
    title: str
    program: str
    # Whether it verifies tokens at all, and which kinds.
    authenticates = True
    algorithms: tuple[str, ...] = ("HS512",)
    # Whether a token that it has not seen before is verified here, and not asked for elsewhere.
    verifies = True
    features: tuple[str, ...] = ("http2", "h2c", "log")

    def cannot(self, work: Work) -> str | None:
        """Why it cannot do this work; None where it can."""
        if work.upstream == "h2c" and "h2c" not in self.features:
            return "no HTTP/2 to the application"
        if work.http2 and "http2" not in self.features:
            return "no HTTP/2 to clients"
        if work.log and "log" not in self.features:
            return "has no access log"
        if self.authenticates and self.algorithm(work) not in self.algorithms:
            return f"does not verify {work.algorithm} tokens"
        return None

    def algorithm(self, work: Work) -> str:
        return work.algorithm

    def command(self, stage: Stage, work: Work, port: int, directory: Path) -> list[str]:
        raise NotImplementedError

    def start(self, stage: Stage, work: Work) -> Running:
        """Starts it, and proves that it does its work: no answer without a token, and the subject passed on with one.

        Raises Cannot, tools.Missing or NotStarted.
        """
        why = self.cannot(work)
        if why:
            raise Cannot(why)
        port = free_port()
        directory = stage.directory / f"{self.name}-{port}"
        directory.mkdir()
        directory.chmod(0o755)
        argv = [tools.program(self.program), *self.command(stage, work, port, directory)]
        log = directory / "log"
        token = stage.token(self.algorithm(work)) if self.authenticates else None
        begun = time.monotonic()
        with files(work.files):
            process = stage.spawn(argv, log, stage.proxy_cpus if work.workers == 1 else stage.all_cpus)
        running = Running(self, work, process, port, token, log)
        try:
            wait_for(port, process, log)
            self._prove(running)
        except BaseException:
            stop(process)
            raise
        running.ready -= begun
        return running

    def _prove(self, running: Running) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                status, said = client.get(running.port, "/who", running.headers())
            except (OSError, ssl.SSLError) as error:
                status, said = 0, str(error)
            # Where the port was taken, somebody else may have answered.
            if running.process.poll() is not None:
                raise NotStarted(why_ended(running.log, running.port))
            if status == 200:
                break
            if time.monotonic() > end:
                raise NotStarted(f"answers {status} to a good token: {said[:120]}")
            time.sleep(0.005)
        running.ready, running.ready_cpu = time.monotonic(), on_cpu(running.pid)
        if self.authenticates:
            if said != "bench":
                raise NotStarted(f"tells the application that {said!r} calls, and not 'bench'")
            status, _ = client.get(running.port, "/who", {})
            if status not in (401, 403):
                raise NotStarted(f"answers {status} without a token")


class Vestibule(Peer):
    name, title, program = "vestibule", "Vestibule", "vestibule"
    algorithms = ("HS512", "ES256", "EdDSA")

    def command(self, stage, work, port, directory, admin=None):
        configuration = vestibule_configuration(stage, work, port, directory)
        for name in accounts(work.accounts):
            argv = [tools.program(self.program), "users", "add", name, "--password-stdin", "--dir", str(directory)]
            subprocess.run(argv, input=stage.password, text=True, check=True, capture_output=True)
        return ["serve", "--config", str(configuration), "--admin", f"127.0.0.1:{admin or free_port()}"]


class Build(Vestibule):
    """Another build of Vestibule."""

    def __init__(self, name: str, program: str) -> None:
        self.name, self.title, self.program = name, f"Vestibule, {name}", program


class HAProxy(Peer):
    name, title, program = "haproxy", "HAProxy, `jwt_verify`", "haproxy"
    algorithms = ("HS512", "ES256")

    def command(self, stage, work, port, directory):
        return ["-db", "-f", str(haproxy_configuration(stage, work, port, directory, verify=self.authenticates))]


class HAProxyTls(HAProxy):
    name, title, authenticates = "haproxy-tls", "HAProxy, TLS alone", False


class Nginx(Peer):
    name, title, program, authenticates = "nginx-tls", "nginx, TLS alone", "nginx", False

    def cannot(self, work):
        if work.upstream == "h2c":
            return "its gRPC proxying fails some calls that are answered before they were read"
        return super().cannot(work)

    def command(self, stage, work, port, directory):
        return ["-c", str(nginx_configuration(stage, work, port, directory)), "-e", "stderr"]


class Envoy(Peer):
    name, title, program = "envoy", "Envoy, `jwt_authn`", "envoy"
    algorithms = ("HS512", "ES256", "EdDSA")
    cache = False

    def command(self, stage, work, port, directory):
        bootstrap = directory / "envoy.json"
        bootstrap.write_text(json.dumps(envoy_bootstrap(stage, work, port, self.cache)))
        quiet = ["--log-level", "error", "--disable-hot-restart"]
        return ["-c", str(bootstrap), "--concurrency", str(work.workers), *quiet]


class EnvoyWithCache(Envoy):
    """With what it does not do by default: remember tokens that were found good."""

    name, title, cache = "envoy-cache", "Envoy, `jwt_authn` and its cache", True


class KubeRbacProxy(Peer):
    name, title, program = "kube-rbac-proxy", "kube-rbac-proxy, TokenReview", "kube-rbac-proxy"
    verifies = False
    features = ("http2", "h2c")

    def command(self, stage, work, port, directory):
        upstream = f"http://127.0.0.1:{stage.h2c_port if work.upstream == 'h2c' else stage.http_port}/"
        more = ["--upstream-force-h2c"] if work.upstream == "h2c" else []
        return [
            f"--secure-listen-address=127.0.0.1:{port}",
            f"--upstream={upstream}",
            f"--kubeconfig={kubeconfig(stage, directory)}",
            f"--tls-cert-file={stage.certificate}",
            f"--tls-private-key-file={stage.private_key}",
            "--tls-min-version=VersionTLS13",
            "--auth-header-fields-enabled",
            "--auth-header-user-field-name=X-Forwarded-User",
            "--v=0",
            *more,
        ]


class OAuth2Proxy(Peer):
    name, title, program = "oauth2-proxy", "oauth2-proxy, bearer JWT (RS256)", "oauth2-proxy"
    algorithms = ("RS256",)
    features = ("log",)

    def algorithm(self, work):
        return "RS256" if work.algorithm == "HS512" else work.algorithm

    def command(self, stage, work, port, directory):
        import fakes

        if not stage.issuer_port:
            fakes.issuer(stage)
        return [
            "--provider=oidc",
            f"--oidc-issuer-url={stage.issuer}",
            "--client-id=bench",
            "--client-secret=bench",
            "--cookie-secret=0123456789abcdef0123456789abcdef",
            "--email-domain=*",
            "--skip-jwt-bearer-tokens=true",
            "--api-route=/",
            "--http-address=",
            f"--https-address=127.0.0.1:{port}",
            f"--tls-cert-file={stage.certificate}",
            f"--tls-key-file={stage.private_key}",
            "--tls-min-version=TLS1.3",
            f"--upstream=http://127.0.0.1:{stage.http_port}/",
            f"--request-logging={'true' if work.log else 'false'}",
            "--auth-logging=false",
        ]


PEERS: list[Peer] = [
    Vestibule(),
    HAProxy(),
    Envoy(),
    EnvoyWithCache(),
    KubeRbacProxy(),
    OAuth2Proxy(),
    HAProxyTls(),
    Nginx(),
]
