"""What is measured: one function for each row, over all peers, in turns."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import measure
import tools
from load import DIFFERENT_TOKENS, Answers, Failed, Idle, ask, h2load, wrk
from peers import Cannot, Peer, Running, Vestibule, Work, accounts
from stage import NotStarted, Stage, free_port, stop, why_ended

GIB = 1 << 30
# Seconds until connections that say nothing are idle.
IDLE_FOR = 6


@dataclass
class Cell:
    """What one peer did in one row: figures by name, a list of one for each repetition; or why there are none."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    # It tried, and did not do the work.
    failed: str | None = None
    # It does not know this kind of work, or is not here.
    absent: str | None = None

    def add(self, **figures: float) -> None:
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)


Cells = dict[str, Cell]


@dataclass(frozen=True)
class Bench:
    stage: Stage
    peers: list[Peer]
    repetitions: int
    seconds: float
    # What a long body measures.
    body: int
    idle: int
    quick: bool


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    # What `cpu` is in: "µs" for each request or connection, "s" for each GiB.
    unit: str
    run: Callable[[Bench], Cells]


@contextmanager
def fleet(bench: Bench, work: Work, cells: Cells, peers: list[Peer] | None = None) -> Iterator[list[Running]]:
    """All peers that can do this work, started; the others' cells say why not."""
    running = []
    try:
        for peer in bench.peers if peers is None else peers:
            cell = cells[peer.name] = Cell()
            try:
                running.append(peer.start(bench.stage, work))
            except (Cannot, tools.Missing) as error:
                cell.absent = str(error)
            except (NotStarted, OSError, subprocess.SubprocessError) as error:
                cell.failed = f"not started: {error}"
        yield running
    finally:
        for one in running:
            one.stop()


def in_turns(bench: Bench, work: Work, drive: Callable[[Running, float], Answers], scale: float = 1e6, **choice) -> Cells:
    """CPU time of each peer for each answer, the peers taking turns; `scale` makes it the unit of the row."""
    cells: Cells = {}
    with fleet(bench, work, cells, **choice) as running:
        # The first turn warms up, where there is time for it.
        for turn in range(0 if bench.quick else -1, bench.repetitions):
            for one in running:
                cell = cells[one.peer.name]
                if cell.failed:
                    continue
                try:
                    before = measure.cpu(one.pid)
                    answers = drive(one, bench.seconds if turn >= 0 else 1)
                    used = measure.cpu(one.pid) - before
                except Failed as error:
                    cell.failed = str(error)
                    continue
                if turn >= 0:
                    count = answers.count / scale
                    cell.add(cpu=used.total / count, user=used.user / count, system=used.system / count)
                    cell.add(rate=answers.count / answers.seconds, answers=answers.count)
    return cells


def http1(path: str) -> Callable[[Bench], Cells]:
    return lambda bench: in_turns(bench, Work(), lambda one, seconds: wrk(one.port, path, one.headers(), seconds))


def algorithm(name: str) -> Callable[[Bench], Cells]:
    def run(bench: Bench) -> Cells:
        peers = [peer for peer in bench.peers if peer.authenticates]
        work = Work(algorithm=name)
        return in_turns(bench, work, lambda one, seconds: wrk(one.port, "/1k", one.headers(), seconds), peers=peers)

    return run


def http2(bench: Bench) -> Cells:
    return in_turns(bench, Work(http2=True), lambda one, seconds: h2load(one.port, "/1k", one.headers(), seconds))


def grpc(bench: Bench) -> Cells:
    # A message of 64 bytes with its prefix (gRPC over HTTP/2, length-prefixed message).
    body = bench.stage.directory / "message"
    body.write_bytes(b"\0" + (64).to_bytes(4, "big") + b"a" * 64)
    more = {"content-type": "application/grpc", "te": "trailers"}

    def drive(one: Running, seconds: float) -> Answers:
        return h2load(one.port, "/bench.Echo/Say", one.headers() | more, seconds, body=body)

    return in_turns(bench, Work(upstream="h2c", http2=True), drive)


def log(bench: Bench) -> Cells:
    def drive(one: Running, seconds: float) -> Answers:
        before = _lines(one.log)
        answers = wrk(one.port, "/1k", one.headers(), seconds)
        # Lines may be on their way.
        for _ in range(20):
            written = _lines(one.log) - before
            if written >= answers.count:
                return answers
            time.sleep(0.1)
        if written < answers.count * 0.5:
            raise Failed(f"{written} log lines for {answers.count} requests")
        return answers

    return in_turns(bench, Work(log=True), drive)


def long_body(kind: str) -> Callable[[Bench], Cells]:
    def drive(bench: Bench, one: Running, seconds: float) -> Answers:
        what = {"path": "/down", "expected": GIB} if kind == "down" else {"size": bench.body}
        begun = time.monotonic()
        done = ask(120, kind=kind, port=one.port, headers=one.headers(), **what)
        return Answers(done["bytes"], time.monotonic() - begun)

    def run(bench: Bench) -> Cells:
        few = replace(bench, repetitions=max(1, bench.repetitions // 2))
        return in_turns(few, Work(), lambda one, seconds: drive(bench, one, seconds), scale=GIB)

    return run


def handshakes(resumed: bool) -> Callable[[Bench], Cells]:
    def drive(one: Running, seconds: float) -> Answers:
        what = {"kind": "handshakes", "port": one.port, "headers": one.headers(), "seconds": seconds}
        return Answers(ask(seconds + 30, resumed=resumed, **what)["count"], seconds)

    return lambda bench: in_turns(bench, Work(), drive)


def different_tokens(algorithm: str) -> Callable[[Bench], Cells]:
    def run(bench: Bench) -> Cells:
        script = bench.stage.directory / "tokens.lua"
        script.write_text(DIFFERENT_TOKENS)
        names = str(bench.stage.different_tokens(algorithm))
        turns: dict[str, int] = {}

        def drive(one: Running, seconds: float) -> Answers:
            turn = turns[one.peer.name] = turns.get(one.peer.name, -1) + 1
            # Every turn begins elsewhere, so that none meets what the last one left in a cache.
            return wrk(one.port, "/1k", {}, seconds, script=script, arguments=(names, str(turn * 9973)))

        peers = [peer for peer in bench.peers if peer.verifies and peer.authenticates and algorithm in peer.algorithms]
        return in_turns(bench, Work(algorithm=algorithm), drive, peers=peers)

    return run


def latency(bench: Bench) -> Cells:
    """At half of what the slowest of them can do, the same for all; over kept connections, HTTP/1.1."""
    cells: Cells = {}
    log_file = bench.stage.directory / "latency"
    with fleet(bench, Work(), cells) as running:
        rates = {}
        for one in running:
            try:
                answers = wrk(one.port, "/1k", one.headers(), 1)
                rates[one.peer.name] = answers.count / answers.seconds
            except Failed as error:
                cells[one.peer.name].failed = str(error)
        rate = min(rates.values(), default=0) / 2
        for _ in range(bench.repetitions):
            for one in running:
                cell = cells[one.peer.name]
                if cell.failed:
                    continue
                try:
                    answers = h2load(
                        one.port, "/1k", one.headers(), bench.seconds, connections=32, http1=True, rate=rate, log=log_file
                    )
                    cell.add(p50=answers.p50, p99=answers.p99, rate=rate)
                except Failed as error:
                    cell.failed = str(error)
    return cells


def memory(bench: Bench) -> Cells:
    """Start, memory and CPU time of a peer that has little to do, each on its own."""
    cells: Cells = {}
    for peer in bench.peers:
        with fleet(bench, Work(files=16384), cells, peers=[peer]) as running:
            for one in running:
                cell = cells[peer.name]
                try:
                    cell.add(ready=one.ready * 1000, ready_cpu=one.ready_cpu * 1000, idle=measure.settled(one.pid))
                    before, span = measure.on_cpu(one.pid), 4 if bench.quick else 15
                    time.sleep(span)
                    cell.add(idle_cpu=(measure.on_cpu(one.pid) - before) * 1000 * 60 / span)
                    before = measure.resident(one.pid)
                    with Idle(one.port, one.headers(), bench.idle):
                        # What is given up when nothing is said has its time to go.
                        time.sleep(IDLE_FOR)
                        cell.add(connection=(measure.settled(one.pid) - before) / bench.idle)
                    wrk(one.port, "/1k", one.headers(), 2)
                    cell.add(loaded=measure.settled(one.pid))
                except Failed as error:
                    cell.failed = str(error)
        # Another process: what the first kind has left behind would be taken up again.
        if cells[peer.name].failed or cells[peer.name].absent:
            continue
        http2: Cells = {}
        with fleet(bench, Work(files=16384, http2=True), http2, peers=[peer]) as running:
            for one in running:
                try:
                    before = measure.settled(one.pid)
                    with Idle(one.port, one.headers(), bench.idle, http2=True):
                        time.sleep(IDLE_FOR)
                        cells[peer.name].add(connection_http2=(measure.settled(one.pid) - before) / bench.idle)
                except Failed as error:
                    tools.tell(f"memory: {peer.title}: HTTP/2: {error}")
    return cells


def starts(bench: Bench) -> Cells:
    """From the execution of the program to the first 200 of /readyz; Vestibule alone has such a page."""
    cells: Cells = {}
    for peer in _vestibule(bench):
        cell = cells[peer.name] = Cell()
        directory, admin = bench.stage.directory / f"starts-{peer.name}", free_port()
        directory.mkdir()
        argv = [tools.program(peer.program), *peer.command(bench.stage, Work(), free_port(), directory, admin)]
        for _ in range(5 if bench.quick else 25):
            process = bench.stage.spawn(argv, directory / "log", bench.stage.proxy_cpus)
            # The program has been executed when this returns.
            begun = time.monotonic()
            try:
                while not _is_ready(admin):
                    if process.poll() is not None or time.monotonic() > begun + 10:
                        raise Failed(f"not ready: {why_ended(directory / 'log', admin)}")
                    time.sleep(0.0005)
                cell.add(wall=(time.monotonic() - begun) * 1000, cpu=measure.on_cpu(process.pid) * 1000)
            except Failed as error:
                cell.failed = str(error)
                break
            finally:
                stop(process)
    return cells


def _is_ready(admin: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", admin), timeout=1) as probe:
        probe.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return probe.recv(4096).split(b" ")[1:2] == [b"200"]
    return False


def calls(bench: Bench) -> Cells:
    """System calls for each request, as strace counts them."""
    cells: Cells = {}
    io = {"read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "splice", "sendfile"}
    table = bench.stage.directory / "calls"
    with fleet(bench, Work(), cells) as running:
        for one in running:
            try:
                wrk(one.port, "/1k", one.headers(), 1)
                argv = [tools.program("strace"), "-c", "-f", "-o", str(table)]
                argv += [f"-p{member}" for member in measure.family(one.pid)]
                tracer = bench.stage.spawn(argv, bench.stage.directory / "strace.log", bench.stage.load_cpus)
                time.sleep(0.5)
                try:
                    answers = wrk(one.port, "/1k", one.headers(), 2)
                finally:
                    tracer.send_signal(2)
                    tracer.wait(10)
                counts = [line.split() for line in table.read_text().splitlines() if line[:1] == " "]
                # The fourth column is the number of calls; the fifth, of errors, is often empty.
                found = {row[-1]: int(row[3]) for row in counts if len(row) >= 5 and row[3].isdigit()}
                found.pop("total", None)
                if not found:
                    raise Failed("strace saw nothing: is tracing allowed here?")
                moved = sum(count for name, count in found.items() if name in io)
                cells[one.peer.name].add(io=moved / answers.count, calls=sum(found.values()) / answers.count)
            except (Failed, tools.Missing, OSError) as error:
                cells[one.peer.name].failed = str(error)
    return cells


def logins(bench: Bench) -> Cells:
    """Right passwords of eight users: of equal attempts at once, one alone is hashed. Vestibule alone has logins."""
    cells: Cells = {}
    with fleet(bench, Work(accounts=8), cells, peers=_vestibule(bench)) as running:
        for one in running:
            cell, seconds = cells[one.peer.name], max(2, bench.seconds)
            what = {"port": one.port, "accounts": accounts(8), "password": bench.stage.password, "seconds": seconds}
            for _ in range(bench.repetitions):
                before, hashing = measure.cpu(one.pid), measure.cpu_of_threads(one.pid, "hashing")
                try:
                    done = ask(seconds + 30, kind="logins", **what)
                except Failed as error:
                    cell.failed = str(error)
                    break
                used = (measure.cpu(one.pid) - before).total
                hashing = measure.cpu_of_threads(one.pid, "hashing") - hashing
                cell.add(rate=done["count"] / done["seconds"], cpu=used / done["count"] * 1e3, share=hashing / used)
    return cells


def rules(bench: Bench) -> Cells:
    work = Work(rules=20, groups=10)
    return in_turns(bench, work, lambda one, seconds: wrk(one.port, "/1k", one.headers(), seconds), peers=_vestibule(bench))


def _vestibule(bench: Bench) -> list[Peer]:
    return [peer for peer in bench.peers if isinstance(peer, Vestibule)]


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))


ROWS = [
    Row("keepalive", "HTTP/1.1, 1 KB, kept connections", "µs", http1("/1k")),
    Row("http2", "HTTP/2, 1 KB, 16 connections of 10 streams", "µs", http2),
    Row("16k", "HTTP/1.1, 16 KiB", "µs", http1("/16k")),
    Row("1m", "HTTP/1.1, 1 MiB", "µs", http1("/1m")),
    Row("down", "1 GiB down", "s", long_body("down")),
    Row("up", "1 GiB up", "s", long_body("up")),
    Row("full", "a new connection: full handshake, one request", "µs", handshakes(resumed=False)),
    Row("resumed", "a new connection: resumed, one request", "µs", handshakes(resumed=True)),
    Row("grpc", "gRPC, unary, HTTP/2 on both sides", "µs", grpc),
    Row("log", "1 KB, with an access log", "µs", log),
    Row("es256", "1 KB, an ES256 token", "µs", algorithm("ES256")),
    Row("eddsa", "1 KB, an EdDSA token", "µs", algorithm("EdDSA")),
    Row("tokens", "1 KB, another HS512 token each time", "µs", different_tokens("HS512")),
    Row("tokens-es256", "1 KB, another ES256 token each time", "µs", different_tokens("ES256")),
    Row("rules", "1 KB, 20 access rules, a user in 10 groups", "µs", rules),
    Row("memory", "start, memory, CPU while idle", "", memory),
    Row("start", "start to ready", "", starts),
    Row("latency", "p50 and p99 at the same load", "", latency),
    Row("calls", "system calls for each request", "", calls),
    Row("logins", "logins for each hashing thread", "", logins),
]
