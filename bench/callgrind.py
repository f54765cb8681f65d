"""Builds bench/counted and runs it under callgrind."""

import json
import os
import platform
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from tools import ROOT, last_line, tell

TIMEOUT = 600
BUILD = ["cargo", "build", "--locked", "--profile", "counted", "--features", "counting", "--example", "counted"]


class Failed(Exception):
    """Nothing can be counted; the text is one line."""


@dataclass(frozen=True)
class Work:
    """One kind of work that the harness knows."""

    name: str
    times: int
    what: str


def surroundings(valgrind: str) -> dict[str, str]:
    """What decides how many instructions the same source takes: compilers, C library, and the CPU as valgrind shows it."""
    rustc = _said("rustc", "-vV")
    field = dict(line.split(": ", 1) for line in rustc.splitlines() if ": " in line)
    return {
        "rustc": rustc.splitlines()[0].removeprefix("rustc "),
        "target": field.get("host", platform.machine()),
        "cc": re.sub(r" \(.*?\)", "", _said(os.environ.get("CC", "cc"), "--version").splitlines()[0]),
        "libc": os.confstr("CS_GNU_LIBC_VERSION") or "another",
        "valgrind": _said(valgrind, "--version").strip().removeprefix("valgrind-"),
        "cpu": _cpu(),
    }


def build() -> Path:
    """The harness, in the profile `counted`."""
    tell(" ".join(BUILD))
    environment = {name: value for name, value in os.environ.items() if name not in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")}
    try:
        built = subprocess.run([*BUILD, "--message-format", "json"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise Failed(f"cargo cannot be run: {error.strerror}") from None
    if built.returncode != 0:
        raise Failed("bench/counted does not build: see above")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    found = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "counted"]
    if not found:
        raise Failed("cargo does not say where bench/counted is")
    return Path(found[-1])


def works(harness: Path) -> list[Work]:
    lines = (line.split("\t") for line in _said(str(harness)).splitlines())
    return [Work(name, int(times), what) for name, times, what in lines]


def count(valgrind: str, harness: Path, work: Work) -> int:
    """Instructions for doing it once."""
    profiles = harness.parent.parent.parent / "instructions"
    profiles.mkdir(exist_ok=True)
    profile = profiles / f"{work.name}.{os.getpid()}.{threading.get_ident()}"
    command = [
        valgrind,
        "--tool=callgrind",
        # The harness says by these two functions what counts; see bench/counted/marks.rs.
        "--toggle-collect=*counted_from_here*",
        "--toggle-collect=*left_out_from_here*",
        f"--callgrind-out-file={profile}",
        str(harness),
        work.name,
    ]
    # Addresses, and what hashes are seeded with, depend on where the stack begins: the same environment for everyone.
    # Random numbers are asked of the system (no RDRAND, no RDSEED), whatever the CPU has.
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OPENSSL_ia32cap": "~0x4000000000000000:~0x40000"}
    try:
        ran = subprocess.run([*_fixed_addresses(), *command], env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"{work.name}: not within {TIMEOUT} s") from None
    if ran.returncode != 0:
        own = "\n".join(line for line in ran.stderr.splitlines() if not line.startswith("=="))
        raise Failed(f"{work.name}: {last_line(own or ran.stderr)}")
    found = re.search(r"^(?:totals|summary): (\d+)$", profile.read_text(), re.MULTILINE)
    if not found or int(found.group(1)) == 0:
        raise Failed(f"{work.name}: callgrind has counted nothing: are the functions of bench/counted/marks.rs inlined?")
    profile.replace(profiles / work.name)
    return round(int(found.group(1)) / work.times)


def _fixed_addresses() -> list[str]:
    """Without address space randomisation where that is allowed."""
    setarch = shutil.which("setarch")
    if setarch and subprocess.run([setarch, "-R", "true"], capture_output=True).returncode == 0:
        return [setarch, "-R"]
    return []


def _cpu() -> str:
    if platform.machine() != "x86_64":
        return platform.machine()
    # With AVX2 valgrind shows every program the same CPU, a Haswell of 2013; without it an older one.
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return "x86_64, AVX2" if re.search(r"\bavx2\b", flags) else "x86_64"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Failed(f"{command[0]} cannot be asked: {error}") from None
