"""How Vestibule's cost grows with what it is given: users, keys, rules, idle connections, workers."""

import json
import resource
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import measure
import plot
import tools
from load import Failed, Idle, wrk
from peers import PEERS, Work
from report import machine
from rows import Bench, Cell
from stage import NotStarted


@dataclass(frozen=True)
class Step:
    """One size of one thing."""

    label: str
    work: Work
    idle: int = 0


def most_idle() -> int:
    """10,000 connections, or as many as the limit of files allows: the proxy counts two for each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard // 2 - 200)


THINGS: dict[str, list[Step]] = {
    "users": [Step(f"{n:,}", Work(users=n)) for n in (1, 1000, 100_000)],
    "keys": [Step(str(n), Work(keys=n)) for n in (1, 3, 50)],
    "access rules": [Step(str(n), Work(rules=n)) for n in (1, 500)],
    "idle connections": [Step(f"{n:,}", Work(files=32768, connections=n + 100), n) for n in (10, 1000, most_idle())],
    "workers": [Step(str(n), Work(workers=n)) for n in (1, 2)],
}


def main(bench: Bench, out: Path) -> int:
    """Measures, prints a table, and writes the samples and, beside them, a plot; returns the exit code."""
    found = {}
    for thing, steps in THINGS.items():
        tools.tell(f"growth: {thing}")
        found[thing] = measured(bench, steps)
    print(markdown(found), flush=True)
    samples = {t: {label: cell.failed or cell.figures for label, cell in cells.items()} for t, cells in found.items()}
    out.write_text(json.dumps({"machine": machine(bench), "growth": samples}, indent=1) + "\n")
    picture = out.with_suffix(".svg")
    picture.write_text(plot.svg(rows(found)))
    tools.tell(f"every sample is in {out}, and a plot in {picture}")
    return 1 if any(cell.failed for cells in found.values() for cell in cells.values()) else 0


def measured(bench: Bench, steps: list[Step]) -> dict[str, Cell]:
    """All sizes of one thing, side by side, taking turns."""
    vestibule = next(peer for peer in PEERS if peer.name == "vestibule")
    cells = {step.label: Cell() for step in steps}
    with ExitStack() as ends:
        running = {}
        for step in steps:
            cell = cells[step.label]
            try:
                one = vestibule.start(bench.stage, step.work)
                ends.callback(one.stop)
                cell.add(ready=one.ready_cpu * 1000, idle=measure.settled(one.pid))
                if step.idle:
                    ends.enter_context(Idle(one.port, one.headers(), step.idle))
                    cell.figures["idle"] = [measure.settled(one.pid)]
                running[step.label] = one
            except (NotStarted, Failed, tools.Missing, OSError, subprocess.SubprocessError) as error:
                cell.failed = str(error)
        for turn in range(-1, bench.repetitions):
            for label, one in running.items():
                cell = cells[label]
                if cell.failed:
                    continue
                try:
                    before = measure.cpu(one.pid)
                    answers = wrk(one.port, "/1k", one.headers(), bench.seconds if turn >= 0 else 1)
                    used = measure.cpu(one.pid) - before
                except Failed as error:
                    cell.failed = str(error)
                    continue
                if turn >= 0:
                    cell.add(cpu=used.total / answers.count * 1e6)
    return cells


def markdown(found: dict[str, dict[str, Cell]]) -> str:
    lines = ["| | CPU µs per request | resident | CPU to the first answer |", "| --- | ---: | ---: | ---: |"]
    for thing, cells in found.items():
        for label, cell in cells.items():
            if cell.failed:
                lines.append(f"| {thing}: {label} | failed: {cell.failed} | | |")
                continue
            cpu, values = measure.median(cell.figures["cpu"]), cell.figures["cpu"]
            lines.append(
                f"| {thing}: {label} | {cpu:.1f} ({min(values):.1f} to {max(values):.1f}) "
                f"| {cell.figures['idle'][0] / 1024:.1f} MiB | {cell.figures['ready'][0]:.0f} ms |"
            )
    return "\n".join(lines)


def rows(found: dict[str, dict[str, Cell]]) -> list[plot.Row]:
    def row(title: str, name: str, scale: float) -> plot.Row:
        good = {t: {label: c.figures[name] for label, c in cells.items() if not c.failed} for t, cells in found.items()}
        bars = {t: [(label, measure.median(v) / scale) for label, v in cells.items()] for t, cells in good.items()}
        return plot.Row(title, [plot.Panel(thing, of) for thing, of in bars.items()])

    return [
        row("CPU per request, µs", "cpu", 1),
        row("resident memory, MiB", "idle", 1024),
        row("CPU time from start to first answer, ms", "ready", 1),
    ]
