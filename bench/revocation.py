"""How long a token is still accepted after its user was disabled by a patch of the Secret."""

import http.client
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from control_plane import ControlPlane
from fleet_phases import DOCUMENT, KEYS, RING, USERS, document, ring_of
from harness import Broken
from stage import free_port, stop, wait_for
from tokens import ISSUER, USER, Key
from tools import last_line

NAMESPACE = "revocation"
READY = 30
# For a change to be in force, or for the client to say anything.
PATIENCE = 30


def delays(plane: ControlPlane, vestibule: Path, samples: int) -> list[float]:
    """Seconds from sending the patch to having the first refusal, through `serve`, with a client that asks all the time.

    Raises Broken, NotStarted.
    """
    folder = plane.folder / "serve"
    folder.mkdir()
    kubeconfig = plane.account(NAMESPACE, [USERS], KEYS)
    key = Key("HS512")
    enabled, disabled = document({USER: {}}), document({USER: {"disabled": True}})
    plane.secret(NAMESPACE, USERS, {DOCUMENT: enabled})
    plane.secret(NAMESPACE, KEYS, {RING: ring_of(key)})
    application, listen, admin = free_port(), free_port(), free_port()
    config = folder / "vestibule.yaml"
    document_of_config = {
        "listen": f"127.0.0.1:{listen}",
        "admin": f"127.0.0.1:{admin}",
        "upstream": f"http://127.0.0.1:{application}",
        "tls": {"certificate": str(plane.folder / "server.crt"), "key": str(plane.folder / "server.key")},
        "store": {"kubernetes": {"users": USERS, "keys": KEYS}},
        "tokens": {"issuer": ISSUER},
        "log": {"access": False},
    }
    config.write_text(json.dumps(document_of_config))
    processes = []
    try:
        script = Path(__file__).with_name("application.py")
        for argv, port, log in (
            ([sys.executable, "-B", script, str(application)], application, folder / "application.log"),
            ([vestibule, "serve", "--config", config], admin, folder / "serve.log"),
        ):
            with log.open("ab") as out:
                environment = {"PATH": os.environ.get("PATH", ""), "KUBECONFIG": str(kubeconfig)}
                processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment))
            wait_for(port, processes[-1], log)
        _ready(admin, folder / "serve.log")
        client = _Client(listen, plane.folder / "ca.crt", key.token())
        try:
            client.first(200, 0)
            return [_one(plane, client, enabled, disabled) for _ in range(samples)]
        finally:
            client.close()
    finally:
        for process in processes:
            stop(process)


def _one(plane: ControlPlane, client: "_Client", enabled: str, disabled: str) -> float:
    began = time.time()
    plane.set(NAMESPACE, USERS, {DOCUMENT: disabled})
    refused = client.first(401, began)
    again = time.time()
    plane.set(NAMESPACE, USERS, {DOCUMENT: enabled})
    client.first(200, again)
    return refused - began


class _Client:
    """Asks with one token, request after request on one connection, and remembers when the answers changed."""

    def __init__(self, port: int, authority: Path, token: str):
        tls = ssl.create_default_context(cafile=authority)
        self._connection = http.client.HTTPSConnection("localhost", port, context=tls, timeout=PATIENCE)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._status, self._since, self._error, self._done = 0, 0.0, "", False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def first(self, status: int, after: float) -> float:
        """Since when this has been the answer, in seconds since the epoch; not before a moment.

        Raises Broken.
        """
        with self._changed:
            came = self._changed.wait_for(lambda: self._error or (self._status == status and self._since >= after), PATIENCE)
            if self._error or not came:
                raise Broken(self._error or f"no answer of {status} within {PATIENCE} s: it is {self._status}")
            return self._since

    def close(self) -> None:
        self._done = True
        self._thread.join(PATIENCE)
        self._connection.close()

    def _ask(self) -> None:
        try:
            while not self._done:
                self._connection.request("GET", "/", headers=self._headers)
                answer = self._connection.getresponse()
                answer.read()
                if answer.status != self._status:
                    with self._changed:
                        self._status, self._since = answer.status, time.time()
                        self._changed.notify()
        except (OSError, http.client.HTTPException) as error:
            with self._changed:
                self._error = f"the client's connection broke off: {error}"
                self._changed.notify()


def _ready(admin: int, log: Path) -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=READY)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status == 200:
            return
        time.sleep(0.05)
    raise Broken(f"`serve` is not ready after {READY} s: {last_line(log.read_text(errors='replace'))}")
