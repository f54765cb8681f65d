"""What very many users in several Secrets cost one store."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import measure
from control_plane import ControlPlane
from fleet_phases import DOCUMENT, HASH, KEYS
from harness import Stores

NAMESPACE = "many-users"
# A Secret holds 1 MiB; with base64 and its own fields it is then larger on the wire.
PER_SECRET = 5_000
# More than this no user takes, in bytes.
LARGEST = 200
CHANGES = 5


@dataclass(frozen=True)
class Many:
    """Times in seconds, memory in KiB."""

    users: int
    secrets: int
    bytes: int
    parse: list[float]
    start: float
    # From the patch of one Secret until it is in force.
    changes: list[float]
    resident_before: int
    resident: int
    peak: int
    # CPU seconds of the store for one change.
    change_cpu: float


def measured(plane: ControlPlane, program: Path, users: int) -> Many:
    secrets = [f"users-{number:02}" for number in range((users + PER_SECRET - 1) // PER_SECRET)]
    kubeconfig = plane.account(NAMESPACE, secrets, KEYS)
    plane.secret(NAMESPACE, KEYS, {})
    folders, size = [], 0
    for number, secret in enumerate(secrets):
        text = _document(range(number * PER_SECRET, min((number + 1) * PER_SECRET, users)))
        size += len(text)
        plane.secret(NAMESPACE, secret, {DOCUMENT: text})
        folders.append(plane.folder / "documents" / secret)
        folders[-1].mkdir(parents=True)
        (folders[-1] / DOCUMENT).write_text(text)
    stores = Stores(program, plane.folder / "many", kubeconfig, secrets, KEYS)
    try:
        before = measure.settled(stores.pid)
        start = max(stores.came(stores.start(1)))
        resident = measure.settled(stores.pid)
        changes, cpu = [], measure.cpu(stores.pid).total
        for number in range(CHANGES):
            last = users - 1 - number
            text = _document(range((len(secrets) - 1) * PER_SECRET, users), disabled=last)
            stores.expect("user", name=_name(last), active=False)
            began = time.time()
            plane.set(NAMESPACE, secrets[-1], {DOCUMENT: text})
            changes += stores.came(began)
        time.sleep(1)
        cpu = (measure.cpu(stores.pid).total - cpu) / CHANGES
        peak = _peak(stores.pid)
    finally:
        stores.close()
    # In a process of its own: what parsing leaves behind is in no figure above.
    parser = Stores(program, plane.folder / "parser", kubeconfig, secrets, KEYS)
    try:
        parsed = parser.parse(folders, 5)
    finally:
        parser.close()
    assert parsed["users"] == users, parsed
    return Many(users, len(secrets), size, parsed["seconds"], start, changes, before, resident, peak, cpu)


def _document(numbers: range, disabled: int | None = None) -> str:
    """As people write it: YAML in blocks."""
    lines = ["users:\n"]
    for number in numbers:
        entry = f"  {_name(number)}:\n    groups: [Readers]\n    passwords:\n      - hash: {json.dumps(HASH)}\n"
        assert len(entry) <= LARGEST
        lines.append(entry + ("    disabled: true\n" if number == disabled else ""))
    return "".join(lines)


def _name(number: int) -> str:
    return f"user-{number:06}"


def _peak(pid: int) -> int:
    """The most resident memory that a process ever had, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
