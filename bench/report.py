"""The result: Markdown for people, JSON for programs."""

import tools
from machine import machine as place
from measure import median
from peers import Peer
from rows import Bench, Cell, Cells, Row

BASE = "haproxy"


def machine(bench: Bench) -> dict:
    """Where and with what this was measured."""
    return {
        **place(len(bench.stage.all_cpus)),
        "repetitions": bench.repetitions,
        "seconds": bench.seconds,
        "versions": {name: tools.version(name) for name in sorted({p.program for p in bench.peers} | {"wrk", "h2load"})},
    }


def document(bench: Bench, results: list[tuple[Row, Cells]]) -> dict:
    rows = {}
    for row, cells in results:
        rows[row.name] = {"title": row.title, "unit": row.unit, "peers": {n: _cell(c) for n, c in cells.items()}}
    return {"machine": machine(bench), "rows": rows}


def markdown(bench: Bench, results: list[tuple[Row, Cells]]) -> str:
    """All tables, each with what is missing in it and why."""
    found = {row.name: cells for row, cells in results}
    about = machine(bench)
    blocks = [_about(about, bench), _main(bench, found)]
    others = [(row, cells) for row, cells in results if row.unit and row.name != "keepalive"]
    if others:
        blocks.append(_others(bench.peers, others))
    if "calls" in found:
        blocks.append(_calls(bench.peers, found["calls"]))
    if "start" in found:
        blocks.append(_starts(found["start"]))
    if "logins" in found:
        blocks.append(_logins(found["logins"]))
    blocks.append(_reasons(bench.peers, results))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _about(about: dict, bench: Bench) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    lines = [
        f"{about['date'][:10]}, {about['cpus']} CPUs ({about['cpu']}), Linux {about['kernel']}, load "
        f"{about['load_average']:.1f} at the end; {about['repetitions']} turns of {about['seconds']:g} s. {versions}.",
    ]
    if any(peer.name == "kube-rbac-proxy" for peer in bench.peers):
        lines.append(
            "The API server that kube-rbac-proxy asks is a fake: it knows one token by heart, and is asked once."
        )
    if any(peer.name == "oauth2-proxy" for peer in bench.peers):
        lines.append("The OIDC issuer of oauth2-proxy is a fake too, asked at the start. Its token is RS256.")
    return "\n".join(lines)


def _main(bench: Bench, found: dict[str, Cells]) -> str:
    keepalive, memory, latency = (found.get(name, {}) for name in ("keepalive", "memory", "latency"))
    if not keepalive and not memory and not latency:
        return ""
    rate = next((c.figures["rate"][0] for c in latency.values() if c.figures.get("rate")), 0)
    at = f" at {rate:,.0f}/s" if rate else ""
    lines = [
        "| 1 KB, HTTP/1.1 | CPU µs per request | user | system | against HAProxy | of the least | requests/s | start, CPU | resident, idle "
        f"| under load | per idle connection | of HTTP/2 | CPU while idle | p50{at} | p99 |",
        "| --- |" + " ---: |" * 14,
    ]
    base = keepalive.get(BASE)
    for peer in bench.peers:
        k, m, p = (cells.get(peer.name, Cell()) for cells in (keepalive, memory, latency))
        lines.append(
            f"| {peer.title} | {_spread(k)} | {_figure(k, 'user', '{:.1f}')} | {_figure(k, 'system', '{:.1f}')} "
            f"| {_ratio(k, base)} | {_least_ratio(k, base)} | {_figure(k, 'rate', '{:,.0f}')} | {_figure(m, 'ready_cpu', '{:.0f} ms')} "
            f"| {_megabytes(m, 'idle')} | {_megabytes(m, 'loaded')} | {_figure(m, 'connection', '{:.1f} KiB')} "
            f"| {_figure(m, 'connection_http2', '{:.1f} KiB')} "
            f"| {_figure(m, 'idle_cpu', '{:.1f} ms/min')} | {_figure(p, 'p50', '{:.0f} µs')} | {_figure(p, 'p99', '{:.0f} µs')} |"
        )
    return "\n".join(lines)


def _others(peers: list[Peer], rows: list[tuple[Row, Cells]]) -> str:
    lines = [
        "CPU time of other work, and in brackets against HAProxy with `jwt_verify`:",
        "",
        "| | " + " | ".join(peer.title for peer in peers) + " |",
        "| --- |" + " ---: |" * len(peers),
    ]
    for row, cells in rows:
        base = cells.get(BASE)
        shown = []
        for peer in peers:
            cell = cells.get(peer.name, Cell())
            ratio = _ratio(cell, base)
            ratio = "" if ratio == "–" else f" ({ratio})"
            shown.append(_figure(cell, "cpu", "{:.2f} s" if row.unit == "s" else "{:.1f} µs") + ratio)
        lines.append(f"| {row.title} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _calls(peers: list[Peer], cells: Cells) -> str:
    lines = ["| system calls for each request | reads and writes | all |", "| --- | ---: | ---: |"]
    for peer in peers:
        cell = cells.get(peer.name, Cell())
        lines.append(f"| {peer.title} | {_figure(cell, 'io', '{:.2f}')} | {_figure(cell, 'calls', '{:.2f}')} |")
    return "\n".join(lines)


def _starts(cells: Cells) -> str:
    cell = cells.get("vestibule", Cell())
    if not cell.figures:
        return ""
    wall = cell.figures["wall"]
    return (
        f"Start to ready: {median(wall):.1f} ms ({min(wall):.1f} to {max(wall):.1f}) from the execution of the program to the "
        f"first 200 of /readyz, {_figure(cell, 'cpu', '{:.1f}')} ms of CPU time; the median of {len(wall)} starts."
    )


def _logins(cells: Cells) -> str:
    cell = cells.get("vestibule", Cell())
    if not cell.figures:
        return ""
    share = median(cell.figures["share"]) * 100
    return (
        f"Logins (argon2id, 19 MiB, two passes) on one hashing thread: {_figure(cell, 'rate', '{:.1f}')} a second, "
        f"{_figure(cell, 'cpu', '{:.1f}')} ms of CPU time each, {share:.0f} % of it in the hash."
    )


def _reasons(peers: list[Peer], results: list[tuple[Row, Cells]]) -> str:
    """One line for each peer and reason, with the rows it counts for."""
    said: dict[tuple[str, str, str], list[str]] = {}
    for row, cells in results:
        for peer in peers:
            cell = cells.get(peer.name)
            if cell and cell.failed:
                said.setdefault((peer.title, "FAILED", cell.failed), []).append(row.name)
            elif cell and cell.absent:
                said.setdefault((peer.title, "not measured", cell.absent), []).append(row.name)
    return "\n".join(
        f"- {title}: {word} ({'all' if len(rows) == len(results) else ', '.join(rows)}): {why}"
        for (title, word, why), rows in said.items()
    )


def _value(cell: Cell | None) -> float:
    return median(cell.figures["cpu"]) if cell and not cell.failed and cell.figures.get("cpu") else 0


def _spread(cell: Cell) -> str:
    if not _value(cell):
        return _figure(cell, "cpu", "")
    values = cell.figures["cpu"]
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _ratio(cell: Cell, base: Cell | None) -> str:
    """Against the base of the same turn, the median over all turns; neighbours disturb a turn, and both alike."""
    if not _value(cell) or not _value(base):
        return "–"
    turns = [own / other for own, other in zip(cell.figures["cpu"], base.figures["cpu"])]
    return f"{median(turns):.2f}"


def _least_ratio(cell: Cell, base: Cell | None) -> str:
    """The least of all turns against the base's least: what disturbs only ever adds."""
    if not _value(cell) or not _value(base):
        return "–"
    return f"{min(cell.figures['cpu']) / min(base.figures['cpu']):.2f}"


def _figure(cell: Cell, name: str, form: str) -> str:
    if cell.failed:
        return "failed"
    values = cell.figures.get(name)
    return form.format(median(values)) if values else "–"


def _megabytes(cell: Cell, name: str) -> str:
    if cell.failed or not cell.figures.get(name):
        return _figure(cell, name, "")
    return f"{median(cell.figures[name]) / 1024:.1f} MiB"


def _cell(cell: Cell) -> dict:
    if cell.failed:
        return {"failed": cell.failed}
    if cell.absent:
        return {"absent": cell.absent}
    return cell.figures
