"""The result of bench/fleet: one table in Markdown, a few lines about it, and JSON."""

import dataclasses

from fleet_phases import Phase
from machine import machine
from many_users import Many
from measure import median, percentile

MIB = 1 << 20


@dataclasses.dataclass
class Result:
    """All that was measured; what was not is `None`."""

    stores: int
    command: str
    phases: list[Phase]
    # What the stores have counted themselves.
    counted: dict[str, float]
    many: Many | None = None
    # Seconds, through `serve`.
    revocation: list[float] | None = None


def document(result: Result) -> dict:
    return {"machine": machine(), **dataclasses.asdict(result)}


def markdown(result: Result) -> str:
    about = machine()
    lines = [
        f"`{result.command}`, {about['date'][:10]}, {about['cpus']} CPUs ({about['cpu']}), Linux {about['kernel']}, load "
        f"{about['load_average']:.1f} at the end. The stores, the API server and etcd share these CPUs.",
        "",
        "| | p50 | p99 | last | requests of the stores | most in 1 s | CPU s: API server | etcd | stores | within s "
        "| API server, MiB | open watches | requests/s that ended |",
        "| --- |" + " ---: |" * 12,
    ]
    lines += [_row(phase) for phase in result.phases]
    if result.many:
        changes = sorted(result.many.changes)
        lines.append(_short(f"one store with {result.many.users:,} users: one is disabled", changes))
    if result.revocation:
        title = f"`serve`: from the patch that disables a user to the first refusal, {len(result.revocation)} times"
        lines.append(_short(title, sorted(result.revocation)))
    lines += ["", *(f"- {line}" for line in _remarks(result))]
    return "\n".join(lines) + "\n"


def _row(phase: Phase) -> str:
    requests = ", ".join(f"{count:,} {kind}" for kind, count in sorted(phase.requests.items())) or "none"
    cells = [
        phase.title,
        *_times(sorted(phase.times)),
        requests,
        f"{phase.peak:,}",
        *(f"{phase.cpu[program]:.2f}" for program in ("API server", "etcd", "stores")),
        f"{phase.seconds:.1f}",
        f"{phase.resident / MIB:,.0f}",
        f"{phase.watches:,}",
        f"{phase.ended / phase.seconds:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _short(title: str, times: list[float]) -> str:
    return f"| {title} | {' | '.join(_times(times))} |" + " |" * 9


def _times(ordered: list[float]) -> list[str]:
    if not ordered:
        return ["", "", ""]
    return [_span(percentile(ordered, 0.5)), _span(percentile(ordered, 0.99)), _span(ordered[-1])]


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _remarks(result: Result) -> list[str]:
    found = {phase.name: phase for phase in result.phases}
    remarks = [
        f"Each of the {result.stores} stores has a TLS connection of its own to the API server. All are one service account, with "
        "the rights of deploy/rbac.yaml, and one process, which handles them on one thread.",
    ]
    if start := found.get("start"):
        memory = start.more["resident_kib"]
        remarks.append(
            f"A store holds {memory['a store']:.0f} KiB: {memory['process'] / 1024:.0f} MiB for {result.stores}, "
            f"{memory['without stores'] / 1024:.0f} MiB without any. {start.more['keys']} key was made."
        )
    if rotation := found.get("rotation"):
        more = rotation.more
        since = f"; the last store has it {_span(more['from_patch'])} after that patch came" if "from_patch" in more else ""
        remarks.append(
            f"Rotation, patches: {more['patches']} sent, {more['written']} written, {more['lost']} lost (409); there are "
            f"{more['keys']} keys{since}."
        )
    if restart := found.get("restart"):
        more = restart.more
        remarks.append(
            f"Restart: SIGTERM, SIGKILL {more['grace']} s later, and {more['away']:.1f} s until it is ready again. Its start by itself "
            f"costs {more['cold_cpu']:.1f} of the CPU seconds."
        )
    if idle := found.get("idle"):
        remarks += _idle(idle, result.stores)
    rejected = sum(phase.rejected for phase in result.phases)
    counted = ", ".join(f"{count:.0f} {name}" for name, count in result.counted.items())
    remarks.append(f"The API server turned {rejected} requests away (429). The stores count rotations: {counted}.")
    if many := result.many:
        remarks.append(
            f"{many.users:,} users in {many.secrets} Secrets, {many.bytes / many.users:.0f} bytes a user: parsed in "
            f"{_span(median(many.parse))} (median of {len(many.parse)}), in force {_span(many.start)} after a start; "
            f"{(many.resident - many.resident_before) / 1024:.0f} MiB, and {many.peak / 1024:.0f} MiB in all at most, while a "
            f"change is read; a change costs {many.change_cpu:.2f} CPU s."
        )
    return remarks


def _idle(idle: Phase, stores: int) -> list[str]:
    more, count = idle.more, sum(idle.requests.values())
    shares = ", ".join(f"{program} {cpu / idle.seconds:.1%}" for program, cpu in idle.cpu.items())
    remarks = [
        f"Idle: {count} requests in {idle.seconds:.0f} s, {count / stores / idle.seconds * 3600:.1f} a store and hour if it went on so. "
        f"CPU: {shares} of one CPU."
    ]
    if more["ended"] and more["ended"] == more["watches"]:
        hourly = 3600 / more["mean_life"]
        remarks.append(
            f"All {more['watches']} watches that were open have ended in that time, after {more['mean_life']:.0f} s on average: "
            f"{hourly:.1f} requests an hour and Secret, {2 * hourly:.1f} a store and hour in the long run."
        )
    else:
        remarks.append(
            f"{more['ended']} of {more['watches']} watches have ended in that time, which last 5 to 10 minutes: it is too short to "
            "extrapolate from."
        )
    return remarks
