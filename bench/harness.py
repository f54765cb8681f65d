"""bench/stores: built, started, told what to do."""

import json
import os
import select
import subprocess
import time
from pathlib import Path

from stage import stop
from tools import ROOT, Missing, last_line, tell

BUILD = "cargo build --locked --profile counted --features fleet --example stores --bin vestibule".split()
# What is so in all stores within this is not late.
PATIENCE = 60


class Broken(Exception):
    """The stores have ended, or do not answer; the text is one line."""


def build() -> tuple[Path, Path]:
    """The stores and `vestibule`, optimised as in bench/instructions; `VESTIBULE_BIN` may name another `vestibule`.

    Raises Missing.
    """
    tell(" ".join(BUILD))
    try:
        built = subprocess.run([*BUILD, "--message-format", "json"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise Missing(f"cargo cannot be run: {error.strerror}: install Rust") from None
    if built.returncode != 0:
        raise Missing("bench/stores does not build: see above")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    found = {message["target"]["name"]: Path(message["executable"]) for message in messages if message.get("executable")}
    given = os.environ.get("VESTIBULE_BIN")
    if given and not os.access(given, os.X_OK):
        raise Missing(f"VESTIBULE_BIN names {given!r}, which cannot be run")
    return found["stores"], Path(given) if given else found["vestibule"]


class Stores:
    """A process of them; ends with this."""

    def __init__(self, program: Path, folder: Path, kubeconfig: Path, users: list[str], keys: str):
        folder.mkdir()
        config, self._log = folder / "vestibule.yaml", folder / "stores.log"
        document = {
            # These two are not looked at.
            "upstream": "http://127.0.0.1:9",
            "tls": {"certificate": "unused", "key": "unused"},
            "store": {"kubernetes": {"users": users, "keys": keys}},
        }
        config.write_text(json.dumps(document))
        with self._log.open("ab") as log:
            argv = [program, config, kubeconfig]
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
        self._rest = b""
        self.pid = self._process.pid

    def start(self, count: int) -> float:
        """Starts so many at one moment; returns that moment, in seconds since the epoch."""
        return self._begin({"do": "start", "stores": count, "seconds": PATIENCE})

    def expect(self, what: str, **which: object) -> float:
        """Has all stores wait for something; returns since when they do, in seconds since the epoch."""
        return self._begin({"do": "await", "what": what, "seconds": PATIENCE, **which})

    def came(self, began: float) -> list[float]:
        """In how many seconds from a moment on it had come to be so in each, in order.

        Raises Broken, where it has not in all.
        """
        answer = self._answer(2 * PATIENCE)
        if answer["late"]:
            raise Broken(f"after {PATIENCE} s {answer['late']} of {answer['late'] + len(answer['at'])} stores still wait")
        return [at / 1e6 - began for at in answer["at"]]

    def parse(self, folders: list[Path], times: int) -> dict:
        self._tell({"do": "parse", "folders": [str(folder) for folder in folders], "times": times})
        return self._answer(2 * PATIENCE)

    def metrics(self) -> str:
        self._tell({"do": "metrics"})
        return self._answer(PATIENCE)["metrics"]

    def close(self) -> None:
        stop(self._process)

    def _begin(self, command: dict) -> float:
        self._tell(command)
        self._answer(PATIENCE)
        return time.time()

    def _tell(self, command: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
        except OSError:
            raise Broken(self._why()) from None

    def _answer(self, patience: float) -> dict:
        deadline = time.monotonic() + patience
        out = self._process.stdout
        while b"\n" not in self._rest:
            if not select.select([out], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Broken(f"the stores say nothing for {patience} s")
            piece = os.read(out.fileno(), 1 << 16)
            if not piece:
                raise Broken(self._why())
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _why(self) -> str:
        return f"the stores have ended: {last_line(self._log.read_text(errors='replace'))}"
