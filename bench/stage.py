"""What all peers share: a directory, a certificate, keys and tokens, and the application behind them."""

import os
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import tools
from tokens import AUDIENCE, USER, Key, many

# What the application answers with, by path: 1,011 bytes, as an answer of an API with its headers makes 1.2 KB.
SIZES = {"/1k": 1011, "/16k": 16 << 10, "/1m": 1 << 20, "/down": 1 << 30}
DIFFERENT_TOKENS = 30_000


class Stage:
    """Where a run takes place: a temporary directory, two sets of CPUs, nginx as the application.

    The proxy that is measured has the first CPU for itself; the load, the application and this process share the
    others, or the same one where there is no other.
    """

    def __init__(self):
        cpus = sorted(os.sched_getaffinity(0))
        self.proxy_cpus = set(cpus[:1])
        self.load_cpus = set(cpus[1:]) or self.proxy_cpus
        self.all_cpus = set(cpus)
        os.sched_setaffinity(0, self.load_cpus)
        self._directory = tempfile.TemporaryDirectory(prefix="vestibule-bench-")
        self.directory = Path(self._directory.name)
        # The application's worker is another user where this runs as root.
        self.directory.chmod(0o755)
        self._processes: list[subprocess.Popen] = []
        self._keys: dict[str, Key] = {}
        self._tokens: dict[str, str] = {}
        try:
            self._certificate()
            self.sink_port = _sink()
            self.http_port, self.h2c_port = free_port(), free_port()
            self._application()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for process in self._processes:
            stop(process)
        self._directory.cleanup()

    def key(self, algorithm: str) -> Key:
        if algorithm not in self._keys:
            if algorithm != "HS512":
                tools.modules()
            self._keys[algorithm] = Key(algorithm)
        return self._keys[algorithm]

    def token(self, algorithm: str) -> str:
        if algorithm not in self._tokens:
            more = {}
            if algorithm == "RS256":
                # OpenID Connect's, whose issuer is a URL that is looked up.
                more = {"iss": self.issuer, "aud": AUDIENCE, "email": f"{USER}@example.com", "email_verified": True}
            self._tokens[algorithm] = self.key(algorithm).token(**more)
        return self._tokens[algorithm]

    def different_tokens(self, algorithm: str) -> Path:
        return many(self.key(algorithm), DIFFERENT_TOKENS, self.directory / f"tokens-{algorithm}")

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.issuer_port}"

    # Where the fake OIDC issuer is, once there is one.
    issuer_port = 0
    password = "correct horse battery staple"

    def spawn(self, argv: list[str], log: Path, cpus: set[int]) -> subprocess.Popen:
        """Starts a program on some CPUs; what it says goes to a file."""
        with log.open("ab") as out:
            return subprocess.Popen(
                argv,
                cwd=self.directory,
                # Settings of somebody's own deployment are not what is compared.
                env={name: value for name, value in os.environ.items() if not name.startswith("VESTIBULE_")},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            )

    def _certificate(self) -> None:
        self.certificate, self.private_key = self.directory / "tls.crt", self.directory / "tls.key"
        make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost".split()
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", str(self.private_key), "-out", str(self.certificate)]
        subprocess.run([tools.program("openssl"), *make, *names, *files], check=True, capture_output=True)
        # HAProxy reads both from one file.
        self.combined = self.directory / "tls.pem"
        self.combined.write_text(self.certificate.read_text() + self.private_key.read_text())

    def _application(self) -> None:
        root = self.directory / "www"
        root.mkdir()
        for path, size in SIZES.items():
            with (root / path[1:]).open("wb") as file:
                file.write(b"a" * min(size, 1 << 20))
                file.truncate(size)
        configuration = self.directory / "application.conf"
        configuration.write_text(f"""
            worker_processes 1; daemon off; pid {self.directory}/application.pid; error_log stderr;
            events {{ worker_connections 16384; }}
            http {{
              access_log off; keepalive_requests 1000000000; keepalive_timeout 600; open_file_cache max=16;
              client_max_body_size 0; client_body_temp_path {self.directory}/body;
              default_type application/octet-stream;
              server {{
                listen 127.0.0.1:{self.http_port} backlog=4096; root {root};
                location = /who {{ return 200 "$http_x_forwarded_user"; }}
                location = /up {{
                  proxy_pass http://127.0.0.1:{self.sink_port}; proxy_request_buffering off; proxy_http_version 1.1;
                }}
              }}
              server {{
                listen 127.0.0.1:{self.h2c_port} http2 backlog=4096;
                location = /who {{ return 200 "$http_x_forwarded_user"; }}
                location / {{
                  default_type application/grpc; add_trailer grpc-status 0 always;
                  return 200 "{'a' * 64}";
                }}
              }}
            }}""")
        nginx = tools.program("nginx")
        log = self.directory / "application.log"
        process = self.spawn([nginx, "-c", str(configuration), "-e", "stderr"], log, self.load_cpus)
        self._processes.append(process)
        wait_for(self.http_port, process, log)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class NotStarted(Exception):
    """A program that ended instead of listening; the text is its last line, or which port is busy."""


def wait_for(port: int, process: subprocess.Popen, log: Path, deadline: float = 30) -> None:
    """Waits until something listens on the port.

    Raises NotStarted.
    """
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NotStarted(why_ended(log, port))
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.002)
    raise NotStarted(f"nothing listens on port {port} after {deadline:.0f} s")


def why_ended(log: Path, port: int) -> str:
    said = log.read_text(errors="replace")
    lowered = said.lower()
    if any(text in lowered for text in ("address already in use", "address in use", "cannot bind")):
        return f"port {port} is busy"
    return f"it ended: {tools.last_line(said)}"


def stop(process: subprocess.Popen) -> None:
    """Ends a program that was started here; by force after two seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def files(limit: int):
    """Lets the programs that are started meanwhile open so many files, as far as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _sink() -> int:
    """Listens for uploads: reads a body of the announced length and answers 200."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        buffer = bytearray(1 << 20)
        with client:
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = client.recv(65536)
                    if not piece:
                        return
                    head += piece
                fields, _, rest = head.partition(b"\r\n\r\n")
                lengths = [line.split(b":")[1] for line in fields.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                left = (int(lengths[0]) if lengths else 0) - len(rest)
                while left > 0:
                    count = client.recv_into(buffer)
                    if not count:
                        return
                    left -= count
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def accept() -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]
