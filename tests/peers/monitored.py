"""Three sidecars before one application that speaks TLS, a load on them, and a Prometheus that scrapes them."""

import http.client
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from sidecar import PASSWORD, USER, Application, Handler, Sidecar, check, hashed, make_certificate

NAMESPACE, JOB = "shop", "shop/vestibule"
START_SECONDS = 30
NEW_CONNECTION = 0.02
"""How often a client connects anew."""
NOBODY = "reader"
"""A user in no group that may call the application."""


class Slow(Handler):
    """Answers after some milliseconds, as applications do; `/broken` is left without an answer."""

    def do_GET(self):
        if self.path == "/broken":
            self.close_connection = True
            return
        time.sleep(min(random.lognormvariate(-4.6, 0.8), 0.5))
        super().do_GET()

    do_POST = do_GET


class Monitored:
    """`with Monitored(...) as fleet:` serves, loads and scrapes until the block ends.

    `settings` are those of each sidecar; `scrape` is in seconds, `pace` in requests a second at each sidecar.
    """

    def __init__(self, prometheus, rules, settings, scrape=1, pace=25):
        self.directory = Path(tempfile.mkdtemp(prefix="vestibule-observed-"))
        make_certificate(self.directory)
        self.application = Application(Slow)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "tls.crt", self.directory / "tls.key")
        # With the handshake at the first read, in the connection's own thread.
        self.application.socket = context.wrap_socket(
            self.application.socket, server_side=True, do_handshake_on_connect=False
        )
        upstream = self.application.url.replace("http://127.0.0.1", "https://localhost")
        settings = {
            "upstreamCa": str(self.directory / "ca.crt"),
            "access": {"rules": [{"path": "/healthz", "allow": "anyone"}]},
            "throttle": {"first": "200ms", "max": "1s", "forgetAfter": "30s"},
            **settings,
        }
        users = {NOBODY: {"groups": ["Readers"], "passwords": [{"hash": hashed(PASSWORD)}]}}
        first = Sidecar(upstream, settings, users)
        shared = {"directory": {name: str(first.directory / name) for name in ("users", "keys")}}
        others = [Sidecar(upstream, {**settings, "store": shared}) for _ in range(2)]
        self.sidecars = [first, *others]
        self.pace = pace
        self.guessing = 0.02
        self.breaking = 0.01
        self._prometheus, self._rules, self._scrape = prometheus, rules, scrape
        self._loads, self._open = {}, []
        self._process = None
        self.failures = []

    def __enter__(self):
        try:
            self._open.append(self.application.__enter__())
            for sidecar in self.sidecars:
                sidecar.__enter__()
                self._open.append(sidecar)
            for sidecar in self.sidecars:
                stop = threading.Event()
                thread = threading.Thread(target=self._load, args=(sidecar, stop), daemon=True)
                thread.start()
                self._loads[sidecar] = (stop, thread)
            self._start_prometheus()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, *error):
        for sidecar in list(self._loads):
            self._stop_load(sidecar)
        try:
            if self._process:
                self._process.terminate()
                self._process.wait(20)
            for one in reversed(self._open):
                one.__exit__(*error)
        finally:
            shutil.rmtree(self.directory)

    def end(self, sidecar):
        """Ends one of the sidecars before the others."""
        self._stop_load(sidecar)
        self._open.remove(sidecar)
        sidecar.__exit__(None, None, None)

    def query(self, expression):
        """An instant query's result."""
        return self.api("query", query=expression)["result"]

    def range(self, expression, seconds, step, end=None):
        """A range query's result, over the last seconds."""
        end = end or time.time()
        return self.api("query_range", query=expression, start=end - seconds, end=end, step=step)["result"]

    def alerts(self):
        """Alerts that are pending or firing, by name."""
        found = {}
        for alert in self.api("alerts")["alerts"]:
            found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    def api(self, what, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as answer:
            with answer:
                check(False, f"Prometheus answers {what} {parameters}", answer.read().decode())

    def _start_prometheus(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # What a PodMonitor makes of a pod: namespace, pod, container, and a job that is called after the monitor.
        targets = [
            {
                "targets": [sidecar.admin_address],
                "labels": {"namespace": NAMESPACE, "pod": f"shop-{number}", "container": "vestibule"},
            }
            for number, sidecar in enumerate(self.sidecars)
        ]
        every = f"{self._scrape}s"
        config = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in self._rules],
            "scrape_configs": [{"job_name": JOB, "static_configs": targets}],
        }
        # JSON is YAML.
        (self.directory / "prometheus.yml").write_text(json.dumps(config))
        log = self.directory / "prometheus.log"
        self._process = subprocess.Popen(
            [
                self._prometheus,
                f"--config.file={self.directory}/prometheus.yml",
                f"--storage.tsdb.path={self.directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--log.level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"},
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            good = self._process.poll() is None and time.monotonic() < deadline
            check(good, "Prometheus gets ready", log.read_text()[-2000:], quiet=True)
            time.sleep(0.1)

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _stop_load(self, sidecar):
        stop, thread = self._loads.pop(sidecar)
        stop.set()
        thread.join(30)

    def _load(self, sidecar, stop):
        client = Client(sidecar)
        while not stop.wait(random.expovariate(self.pace)):
            if random.random() < NEW_CONNECTION:
                client.leave()
            try:
                client.something(self.guessing, self.breaking)
            except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                self.failures.append(error)
                client = Client(sidecar)


class Client:
    """One connection that is kept open, and a token that is renewed."""

    def __init__(self, sidecar):
        self._connection = http.client.HTTPSConnection("localhost", sidecar.port, context=sidecar.tls(), timeout=20)
        self._token = self._nobodys = None
        self._renew = 0

    def something(self, guessing, breaking):
        """One request, of a kind that is drawn."""
        if time.monotonic() > self._renew:
            self._renew = time.monotonic() + random.uniform(3, 6)
            credentials = {"username": USER, "password": PASSWORD}
            self._token = self.call("POST", "/v1/users/authorize", credentials, name="access_token") or self._token
            credentials = {"userName": NOBODY, "pwd": PASSWORD, "ttl": 30}
            self._nobodys = self.call("POST", "/authorize", credentials, name="apiToken") or self._nobodys
        drawn = random.random()
        if drawn < guessing:
            return self.call("POST", "/authorize", {"userName": f"guess-{random.randrange(30)}", "pwd": "wrong"})
        if drawn < guessing + breaking:
            return self.call("GET", "/broken", token=self._token)
        kinds = [
            (66, lambda: self.call("GET", "/orders?page=3", token=self._token)),
            (14, lambda: self.call("POST", "/orders", {"item": 7}, token=self._token)),
            (8, lambda: self.call("GET", "/healthz")),
            (4, lambda: self.call("GET", "/orders")),
            (2, lambda: self.call("GET", "/orders", token=self._nobodys)),
            (1, lambda: self.call("GET", "/a//b", token=self._token)),
            (2, lambda: self.call("POST", "/v1/users/refresh_jwt", token=self._token)),
        ]
        weights, calls = zip(*kinds)
        random.choices(calls, weights)[0]()

    def leave(self):
        """The next call connects anew."""
        self._connection.close()

    def call(self, method, path, document=None, token=None, name=None):
        """Sends a request; the member `name` of the answer where that is 200."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection.request(method, path, json.dumps(document) if document else None, headers)
        answer = self._connection.getresponse()
        body = answer.read()
        return json.loads(body)[name] if name and answer.status == 200 else None
