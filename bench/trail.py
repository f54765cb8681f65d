"""What service accounts have asked an API server for, from its audit log."""

import collections
import datetime
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """One request; times in seconds since the epoch."""

    verb: str
    secret: str
    status: int
    at: float


class Trail:
    """The audit log (audit.k8s.io/v1), read on as it grows."""

    def __init__(self, log: Path):
        self._log = log
        self._read = 0
        self.requests: list[Request] = []
        # When each watch began and ended, by the request's id; no end: it is open.
        self.watches: dict[str, tuple[float, float | None]] = {}

    def mark(self) -> int:
        """How many requests there have been so far."""
        self._go_on()
        return len(self.requests)

    def since(self, mark: int) -> list[Request]:
        self._go_on()
        return self.requests[mark:]

    def open_at(self, watches: int, since: float) -> float | None:
        """When so many of the watches that began after a moment were first open at once; `None`: never yet."""
        self._go_on()
        steps = []
        for began, ended in self.watches.values():
            if began >= since:
                steps.append((began, 1))
                if ended is not None:
                    steps.append((ended, -1))
        open_now = 0
        for at, step in sorted(steps):
            open_now += step
            if open_now >= watches:
                return at
        return None

    def begun(self, since: float, at: float) -> list[float]:
        """When the watches began that did so after a moment and are open at another."""
        return [began for began, ended in self.watches.values() if since <= began <= at and not (ended and ended < at)]

    def lives(self, since: float, at: float) -> list[float | None]:
        """How long each watch has lasted that began after a moment and was open at another; `None`: it is open."""
        self._go_on()
        then = [(began, ended) for began, ended in self.watches.values() if since <= began < at and not (ended and ended < at)]
        return [ended and ended - began for began, ended in then]

    def _go_on(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        # The last line may be in the making.
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, event: dict) -> None:
        verb, began, at = event["verb"], _seconds(event["requestReceivedTimestamp"]), _seconds(event["stageTimestamp"])
        status = event.get("responseStatus", {}).get("code", 0)
        done = event["stage"] == "ResponseComplete" or event["stage"] == "Panic"
        known = self.watches.get(event["auditID"])
        if verb == "watch" and status == 200:
            self.watches[event["auditID"]] = (known[0] if known else at, at if done else None)
        # A watch is there twice: when it begins and when it ends.
        if not (done and known):
            self.requests.append(Request(verb, event.get("objectRef", {}).get("name", ""), status, began))


def peak(requests: list[Request]) -> int:
    """The most requests that came within one second."""
    window, most = collections.deque(), 0
    for at in sorted(request.at for request in requests):
        window.append(at)
        while window[0] <= at - 1:
            window.popleft()
        most = max(most, len(window))
    return most


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()
