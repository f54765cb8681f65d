"""The load: wrk, h2load and the client of this folder, each as a call that returns what was answered, or why not."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tools
from measure import percentile


@dataclass(frozen=True)
class Answers:
    count: int
    seconds: float
    # Microseconds.
    p50: float = 0
    p99: float = 0


class Failed(Exception):
    """Not every answer was good, or there was none; the text is one line."""


# One token after the other, each request made beforehand.
DIFFERENT_TOKENS = """
local requests, next = {}, 0
function init(args)
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", nil, {["Authorization"] = "Bearer " .. token})
  end
  next = tonumber(args[2]) % #requests
end
function request()
  next = next % #requests + 1
  return requests[next]
end
"""


def wrk(port: int, path: str, headers: dict[str, str], seconds: float, connections: int = 32, script: Path | None = None,
        arguments: tuple[str, ...] = (), timeout: str = "10s") -> Answers:
    """HTTP/1.1, keep-alive, as fast as it goes. wrk takes 3xx for good.

    Raises Failed.
    """
    # wrk counts in whole seconds.
    argv = [tools.program("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", timeout]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    argv += ["-s", str(script)] if script else []
    argv.append(f"https://127.0.0.1:{port}{path}")
    said = _run([*argv, "--", *arguments] if arguments else argv, seconds + 30)
    errors = re.search(r"Non-2xx.*|Socket errors.*", said)
    if errors:
        raise Failed(errors.group(0))
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", said)
    if not done or done.group(1) == "0":
        raise Failed(f"no answers: {tools.last_line(said)}")
    unit = {"ms": 0.001, "s": 1, "m": 60}[done.group(3)]
    return Answers(int(done.group(1)), float(done.group(2)) * unit)


def h2load(port: int, path: str, headers: dict[str, str], seconds: float, connections: int = 16, streams: int = 10,
           body: Path | None = None, http1: bool = False, rate: float = 0, log: Path | None = None) -> Answers:
    """HTTP/2 by ALPN, or HTTP/1.1; at `rate` requests per second in all where that is given.

    Raises Failed.
    """
    argv = [tools.program("h2load"), f"-c{connections}", f"-m{1 if http1 else streams}", "-t1"]
    argv += ["-D", str(max(1, round(seconds)))]
    argv += ["--h1"] if http1 else []
    argv += ["--rps", f"{rate / connections:.2f}"] if rate else []
    argv += ["-d", str(body)] if body else []
    if log:
        log.unlink(missing_ok=True)
        argv += ["--log-file", str(log)]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    said = _run([*argv, f"https://127.0.0.1:{port}{path}"], seconds + 30)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
    spans = re.search(r"finished in ([\d.]+)(us|ms|s|m)", said)
    ends = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
    if not codes or not spans or not ends or codes.group(1) == "0":
        raise Failed(f"no answers: {tools.last_line(said)}")
    if any(int(count) for count in (*codes.groups()[1:], *ends.groups())):
        raise Failed(f"{codes.group(0)}; {ends.group(0)}")
    if not http1 and "Application protocol: h2" not in said:
        raise Failed("HTTP/2 was not agreed on")
    p50 = p99 = 0.0
    if log:
        # Each line: when it was sent (µs since the epoch), the status, how long it took (µs).
        took = sorted(float(line.split()[2]) for line in log.read_text().splitlines())
        p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[spans.group(2)]
    return Answers(int(codes.group(1)), float(spans.group(1)) * unit, p50, p99)


def ask(deadline: float, **what: object) -> dict:
    """One call of client.py, in a process of its own.

    Raises Failed.
    """
    said = _run([*_client(), json.dumps(what)], deadline)
    try:
        result = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        raise Failed(f"the client said nothing: {tools.last_line(said)}") from None
    if "failed" in result:
        raise Failed(result["failed"])
    return result


class Idle:
    """Idle connections, open while this is held."""

    def __init__(self, port: int, headers: dict[str, str], count: int, http2: bool = False):
        what = json.dumps({"kind": "idle", "port": port, "headers": headers, "count": count, "http2": http2})
        self._process = subprocess.Popen([*_client(), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self._process.stdout.readline()
        result = json.loads(said) if said.strip() else {"failed": "the client ended"}
        if "failed" in result:
            self.close()
            raise Failed(result["failed"])

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)

    def __enter__(self) -> "Idle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _client() -> list[str]:
    return [sys.executable, "-B", os.path.join(os.path.dirname(__file__), "client.py")]


def _run(argv: list[str], deadline: float) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=deadline, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Failed(f"{os.path.basename(argv[0])} was not done after {deadline:.0f} s") from None
    return done.stdout + done.stderr
