"""Starts Vestibule in front of an application of the test's own, with a certificate, a user and a token."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import bcrypt

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("VESTIBULE_BIN", ROOT / "target/debug/vestibule"))
USER, PASSWORD = "apiUser", "correct horse"
START_SECONDS, STOP_SECONDS = 20, 20
SKIPPED = 77
"""A script's exit code where the machine lacks what it needs."""


class Sidecar:
    """`with Sidecar(upstream) as proxy:` runs `vestibule serve` until the block ends.

    `settings` are keys of the configuration, sections of it merged over the test's own one level deep; `users` are
    entries of the users' document besides the one user in the group `Administrator`. `keys` is a ring to start with;
    one that cannot be read leaves the sidecar without a signer, and it is not waited for until it is ready.
    """

    def __init__(self, upstream, settings=None, users=None, keys=None):
        self.directory = Path(tempfile.mkdtemp(prefix="vestibule-peers-"))
        self.ca = self.directory / "ca.crt"
        self.log = []
        self._listening = threading.Event()
        self._process = None
        try:
            make_certificate(self.directory)
            for name in ("users", "keys"):
                (self.directory / name).mkdir(mode=0o700)
            self.users = {USER: {"groups": ["Administrator"], "passwords": [{"hash": hashed(PASSWORD)}]}}
            self.users.update(users or {})
            self.write_users()
            self._ready = keys is None
            if keys is not None:
                write(self.directory / "keys/keys.jwks", keys)
            self._write_config(upstream, settings or {})
        except BaseException:
            shutil.rmtree(self.directory)
            raise

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, error, trace):
        code = self._end()
        if kind is None:
            check(code == 0, "SIGTERM ends the sidecar in order", f"exit code {code}, {self.log[-3:]}")
            panics = [line for line in self.log if '"event":"panic"' in line]
            check(not panics, "nothing panicked", panics)
        else:
            print("\n".join(["the sidecar's last lines:", *self.log[-20:]]), file=sys.stderr)

    @property
    def url(self):
        return f"https://localhost:{self.port}"

    def token(self, user=USER, password=PASSWORD):
        """Logs in at `/authorize`."""
        status, _, body = self.request("POST", "/authorize", {"userName": user, "pwd": password})
        check(status == 200, f"{user} logs in", (status, body))
        return json.loads(body)["apiToken"]

    def request(self, method, path, document=None, headers=None, body=None):
        """Status, headers and body of one request. `document` is sent as JSON."""
        body = json.dumps(document).encode() if document is not None else body
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, context=self.tls(), timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers, answer.read()

    def admin(self, path):
        """Status and body of a request to the admin listener."""
        try:
            with urllib.request.urlopen(f"http://{self.admin_address}{path}", timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read()

    def tls(self):
        return ssl.create_default_context(cafile=str(self.ca))

    def write_users(self):
        """Replaces the users' document with `self.users`."""
        # JSON is YAML.
        write(self.directory / "users/users.yaml", json.dumps({"users": self.users}))

    def _start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VESTIBULE_")}
        command = [BINARY, "serve", "--config", self.directory / "config.yaml"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + START_SECONDS
        listening = self._listening.wait(START_SECONDS) and hasattr(self, "port")
        check(listening, f"{BINARY} serve listens", (self._process.poll(), self.log[-3:]), quiet=True)
        while self._ready and self.admin("/readyz")[0] != 200:
            check(time.monotonic() < deadline, "the sidecar gets ready", self.admin("/readyz"), quiet=True)
            time.sleep(0.02)

    def _read_log(self):
        for line in self._process.stderr:
            self.log.append(line.rstrip())
            if '"event":"listening"' in line:
                event = json.loads(line)
                self.admin_address = event["admin"]
                self.port = int(event["listen"].rpartition(":")[2])
                self._listening.set()
        # The end of the log wakes whoever waits for the start as well.
        self._listening.set()

    def _end(self):
        code = None
        try:
            if self._process:
                self._process.send_signal(signal.SIGTERM)
                try:
                    code = self._process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
        finally:
            shutil.rmtree(self.directory)
        return code

    def _write_config(self, upstream, settings):
        at = self.directory
        config = {
            "listen": "127.0.0.1:0",
            "admin": "127.0.0.1:0",
            "upstream": upstream,
            "tls": {"certificate": f"{at}/tls.crt", "key": f"{at}/tls.key"},
            "store": {"directory": {"users": f"{at}/users", "keys": f"{at}/keys"}},
            "shutdown": {"delay": "0s", "grace": "5s"},
        }
        for section, value in settings.items():
            config[section] = {**config.get(section, {}), **value} if isinstance(value, dict) else value
        write(at / "config.yaml", json.dumps(config))


class Application(ThreadingHTTPServer):
    """An HTTP/1.1 application on loopback: answers with what it received, `/events` as server-sent events.

    `with Application() as app:` serves until the block ends; `app.gone` counts event streams whose reader left.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handler=None):
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.gone = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return super().__enter__()

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)

    def handle_error(self, request, client_address):
        # A reader that leaves is what some tests are about.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write a head and body together would need; without this, small answers wait for delayed ACKs.
    disable_nagle_algorithm = True

    def do_GET(self):
        if self.path == "/events":
            return self.events()
        size = self.chunked() if "Transfer-Encoding" in self.headers else self.sized()
        received = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "bytes": size,
        }
        content = json.dumps(received).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def sized(self):
        return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def chunked(self):
        """Reads a chunked body (RFC 9112, section 7.1); its bytes."""
        total = 0
        while size := int(self.rfile.readline().split(b";")[0], 16):
            total += len(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return total

    def events(self):
        """An event every half second, each with the time at which it was sent, for 30 s at most."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for number in range(60):
                self.wfile.write(f"id: {number}\ndata: {time.time():.6f}\n\n".encode())
                time.sleep(0.5)
        except ConnectionError:
            self.server.gone.release()

    def log_message(self, *arguments):
        pass


def make_certificate(directory):
    """Makes `tls.crt` and `tls.key` for localhost in `directory`, and `ca.crt`, which they are of."""

    def openssl(*arguments):
        command = ["openssl", *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=30)
        check(done.returncode == 0, f"openssl {arguments[0]}", done.stderr, quiet=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    write(directory / "leaf.ext", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    write(
        directory / "ca.cnf",
        "[req]\ndistinguished_name=name\nx509_extensions=ca\nprompt=no\n[name]\nCN=Test CA\n"
        "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n",
    )
    openssl("req", "-x509", "-config", "ca.cnf", *key, "-days", "2", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", "-new", "-config", "ca.cnf", *key, "-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "csr")
    openssl(
        "x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", "2", "-days", "2",
        "-extfile", "leaf.ext", "-out", "tls.crt",
    )  # fmt: skip


def hashed(password):
    """The cheapest bcrypt hash: these tests are not about passwords."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, b"2b")).decode()


def write(path, text):
    """Replaces a file by a rename, so that nobody reads half of it. Owner only: some hold keys."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.rename(path)


def check(good, what, found=None, quiet=False):
    """Ends the script unless `good`; says what was checked unless `quiet`."""
    if not good:
        raise SystemExit(f"FAILED: {what}\n  found: {found!r}\n{''.join(traceback.format_stack(limit=3)[:-1])}")
    if not quiet:
        print(f"ok: {what}", flush=True)


def skip_without(*programs):
    """Ends the script as skipped where a program is not there."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        print(f"skipped: needs {', '.join(missing)}", flush=True)
        raise SystemExit(SKIPPED)
