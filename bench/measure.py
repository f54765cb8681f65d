"""What a process and all that it started have used, by the operating system's accounting in /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU time."""

    user: float
    system: float

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(self.user - earlier.user, self.system - earlier.system)

    @property
    def total(self) -> float:
        return self.user + self.system


def cpu(pid: int) -> Cpu:
    """CPU time of a process, all its threads, and its children, those included that have ended."""
    user = system = 0
    for member in family(pid):
        fields = _stat(member)
        if fields:
            # utime and stime count all threads; cutime and cstime the children that were waited for.
            user += int(fields[11]) + (int(fields[13]) if member == pid else 0)
            system += int(fields[12]) + (int(fields[14]) if member == pid else 0)
    return Cpu(user * TICK, system * TICK)


def cpu_of_threads(pid: int, prefix: str) -> float:
    """Seconds of CPU time of the threads whose names begin with a prefix."""
    ticks = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith(prefix):
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK


def on_cpu(pid: int) -> float:
    """Seconds on a CPU, to the nanosecond, of the threads that live now: for spans too short for ticks."""
    nanoseconds = 0
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").glob("*/schedstat"):
            try:
                nanoseconds += int(task.read_text().split()[0])
            except (OSError, IndexError):
                continue
    return nanoseconds / 1e9


def resident(pid: int) -> int:
    """Resident memory in KiB, of a process and its children."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total


def settled(pid: int, deadline: float = 8.0) -> int:
    """Resident memory in KiB once it has not moved by a percent for a second."""
    end = time.monotonic() + deadline
    before = resident(pid)
    while time.monotonic() < end:
        time.sleep(1)
        now = resident(pid)
        if abs(now - before) * 100 <= now:
            return now
        before = now
    return before


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    members = [pid]
    for member in members:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                members += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return members


def median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _stat(pid: int) -> list[str]:
    try:
        # The name may hold spaces and parentheses: fields count from behind it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
