"""What a fleet of stores does to an API server, one thing after the other."""

import json
import resource
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import measure
from control_plane import ControlPlane, total
from harness import Broken, Stores
from tokens import Key
from tools import Missing, tell
from trail import Trail, peak

NAMESPACE, USERS, KEYS, DOCUMENT, RING = "fleet", "vestibule-users", "vestibule-keys", "users.yaml", "keys.jwks"
FEW_USERS = 20
# Files of the process with the stores, and of the API server, besides the connections.
OTHER_FILES = 200
# Until the last requests of a phase are in the audit log.
SETTLE = 1.0
# After a restart the longest pause of a store is 30 s, and it may draw two in a row.
RECONNECT = 120
HASH = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"


@dataclass
class Phase:
    """What was done, how long it took, and what it cost."""

    name: str
    title: str
    seconds: float = 0
    # Seconds from the cause on, of each store.
    times: list[float] = field(default_factory=list)
    # By verb and status, such as `watch 200`.
    requests: dict[str, int] = field(default_factory=dict)
    # The most within one second.
    peak: int = 0
    # CPU seconds by program.
    cpu: dict[str, float] = field(default_factory=dict)
    # As the API server says: bytes; open watches of Secrets; requests of anybody that ended; requests turned away with 429.
    resident: int = 0
    watches: int = 0
    ended: int = 0
    rejected: int = 0
    more: dict[str, object] = field(default_factory=dict)


class Fleet:
    """So many stores, each with a connection of its own, of one service account in one namespace."""

    def __init__(self, plane: ControlPlane, program: Path, count: int):
        self.plane, self.count = plane, count
        self.phases: list[Phase] = []
        # Watches of before have ended unseen.
        self.restarted = 0.0
        self.users = {f"user-{number:04}": {} for number in range(FEW_USERS)}
        kubeconfig = plane.account(NAMESPACE, [USERS], KEYS)
        plane.secret(NAMESPACE, USERS, {DOCUMENT: document(self.users)})
        plane.secret(NAMESPACE, KEYS, {})
        self.trail = Trail(plane.audit_log)
        self.stores = Stores(program, plane.folder / "stores", kubeconfig, [USERS], KEYS)
        self.empty = measure.settled(self.stores.pid)

    def close(self) -> None:
        self.stores.close()

    def start(self) -> None:
        """All at one moment, with a keys Secret that is empty: one of them makes the first key."""
        with self._phase("start", f"{self.count} stores start together, without a key: users and a key are in force") as phase:
            phase.times = self.stores.came(self.stores.start(self.count))
            self._watching(0)
        resident = measure.settled(self.stores.pid)
        share = (resident - self.empty) / self.count
        phase.more["resident_kib"] = {"process": resident, "without stores": self.empty, "a store": share}
        phase.more["keys"] = len(json.loads(self.plane.entry(NAMESPACE, KEYS, RING))["keys"])

    def change(self, times: int) -> None:
        """A user is added, again and again."""
        with self._phase("change", f"a user is added, {times} times: in force") as phase:
            for number in range(times):
                phase.times += self._user(f"new-{number}", {}, active=True)

    def disable(self, times: int) -> None:
        """A user is disabled, again and again another one."""
        with self._phase("disable", f"a user is disabled, {times} times: in force") as phase:
            for number in range(times):
                phase.times += self._user(f"user-{number:04}", {"disabled": True}, active=False)

    def rotate(self) -> None:
        """The ring's key is made 40 days old, so that each store finds a rotation due at the same moment."""
        ring = json.loads(self.plane.entry(NAMESPACE, KEYS, RING))
        for key in ring["keys"]:
            key["nbf"] = key["iat"] = int(time.time()) - 40 * 86_400
        with self._phase("rotation", "a rotation is due: the new ring is in force") as phase:
            mark = self.trail.mark()
            self.stores.expect("keys", count=len(ring["keys"]) + 1)
            began = time.time()
            self.plane.set(NAMESPACE, KEYS, {RING: json.dumps(ring)})
            phase.times = self.stores.came(began)
            # Those who draw the longest pause have their turn after 10 s.
            time.sleep(max(0, began + 11 - time.time()))
            patches = [one for one in self.trail.since(mark) if one.verb == "patch"]
        written = [one for one in patches if one.status == 200]
        if written:
            phase.more["from_patch"] = max(phase.times) - (written[0].at - began)
        phase.more |= {"patches": len(patches), "written": len(written), "lost": sum(one.status == 409 for one in patches)}
        phase.more["keys"] = len(json.loads(self.plane.entry(NAMESPACE, KEYS, RING))["keys"])

    def restart(self, grace: float, cold_cpu: float) -> None:
        """The API server is restarted; `cold_cpu`: what its start costs by itself, in CPU seconds."""
        title = "the API server is restarted; from when it is ready until a watch stands again"
        with self._phase("restart", title) as phase:
            self.plane.stop_api_server(grace)
            self.restarted = stopped = time.time()
            ready = self.plane.start_api_server()
            # It is another process now, which begins from nothing.
            self._before["API server"] = 0.0
            again = self._watching(stopped)
            phase.times = [max(0.0, at - ready) for at in self.trail.begun(stopped, again)]
            phase.more = {"away": ready - stopped, "grace": grace, "cold_cpu": cold_cpu}

    def idle(self, seconds: float) -> None:
        """Nothing changes."""
        began, since = time.time(), self.restarted
        with self._phase("idle", f"nothing changes for {seconds:.0f} s") as phase:
            time.sleep(seconds)
        lives = self.trail.lives(since, began)
        ended = [life for life in lives if life is not None]
        phase.more = {"watches": len(lives), "ended": len(ended), "mean_life": sum(ended) / len(ended) if ended else None}

    def metrics(self) -> dict[str, float]:
        """What the stores have counted themselves."""
        text = self.stores.metrics()
        rotations = {result: total(text, "vestibule_key_rotations_total", result=result) for result in ("ok", "conflict", "error")}
        return rotations | {"store errors": total(text, "vestibule_store_errors_total")}

    def _user(self, name: str, members: dict, active: bool) -> list[float]:
        self.users[name] = members
        self.stores.expect("user", name=name, active=active)
        began = time.time()
        self.plane.set(NAMESPACE, USERS, {DOCUMENT: document(self.users)})
        times = self.stores.came(began)
        time.sleep(0.5)
        return times

    def _watching(self, since: float) -> float:
        """Waits until all watch; returns since when they do."""
        deadline = time.monotonic() + RECONNECT
        while time.monotonic() < deadline:
            at = self.trail.open_at(2 * self.count, since)
            if at is not None:
                return at
            time.sleep(0.2)
        raise Broken(f"{RECONNECT} s after the API server's start some stores do not watch")

    @contextmanager
    def _phase(self, name: str, title: str):
        tell(f"{name}: {title}")
        phase = Phase(name, title)
        mark, earlier = self.trail.mark(), self.plane.figures()
        self._before, began = self._cpu(), time.monotonic()
        yield phase
        time.sleep(SETTLE)
        phase.seconds = time.monotonic() - began
        phase.cpu = {program: now - self._before[program] for program, now in self._cpu().items()}
        figures = self.plane.figures()
        phase.resident, phase.watches = figures.resident, figures.watches
        restarted = figures.cpu < earlier.cpu
        phase.ended = figures.requests - (0 if restarted else earlier.requests)
        phase.rejected = figures.rejected - (0 if restarted else earlier.rejected)
        requests = self.trail.since(mark)
        for one in requests:
            kind = f"{one.verb} {one.status}"
            phase.requests[kind] = phase.requests.get(kind, 0) + 1
        phase.peak = peak(requests)
        self.phases.append(phase)

    def _cpu(self) -> dict[str, float]:
        pids = {**self.plane.pids, "stores": self.stores.pid}
        return {program: measure.cpu(pid).total for program, pid in pids.items()}


def document(users: dict[str, dict]) -> str:
    """A users document; JSON is YAML."""
    entry = {"groups": ["Administrator"], "passwords": [{"hash": HASH}]}
    return json.dumps({"users": {name: entry | members for name, members in users.items()}})


def ring_of(key: Key) -> str:
    return json.dumps(key.ring())


def allow_files(stores: int) -> None:
    """Lets what is started from now on open as many files as the stores need.

    Raises Missing.
    """
    needed = stores + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        mend = "raise it (ulimit -Hn), or ask for fewer stores"
        raise Missing(f"{stores} stores need {needed} open files, and {hard} are allowed: {mend}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
