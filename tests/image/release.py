"""The release: deploy/release makes the same files each time, which unpack, run, complete, can be read, and install."""

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
import pages  # noqa: E402
import plugin  # noqa: E402
import sidecar  # noqa: E402
from sidecar import ROOT, Application, Sidecar, check, skip_without  # noqa: E402

PROGRAMS = {arch: Path(file) for arch, file in (each.split("=") for each in os.environ["VESTIBULE_PROGRAMS"].split())}
"""What deploy/binary has built, by architecture: for this machine and, where that could be, for the other one."""
HERE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
EMULATORS = {"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}
ELF_MACHINES = {"amd64": 62, "arm64": 183}
HELM = os.environ["HELM"]
VERSION = re.search(r'(?m)^version = "(.+)"$', (ROOT / "Cargo.toml").read_text())[1]
EPOCH = 1_700_000_000
DATE = "2023-11-14"
URL = "https://example.com/vestibule/releases"


def main():
    skip_without("sha256sum", "git", *pages.TOOLS, *plugin.TOOLS)
    with tempfile.TemporaryDirectory(prefix="vestibule-release-") as folder:
        folder = Path(folder)
        with plugin.Web(folder / "one") as web:
            out = make(folder / "one", web.url)
            the_files_are_these(out)
            unpacked = {arch: the_archive_is_whole(out, folder, arch) for arch in PROGRAMS}
            the_other_one_serves(folder, unpacked)
            architectures_differ_in_the_program_alone(unpacked)
            pages.completions_work_in_their_shells(unpacked[HERE])
            pages.man_pages_tell_every_command(unpacked[HERE], VERSION, DATE)
            the_charts_are_those_of_the_repository(out)
            plugin.krew_installs_it(out, name(HERE), VERSION, folder)
            again = make(folder / "two", web.url, TZ="Asia/Tokyo", LC_ALL="C.UTF-8", PYTHONHASHSEED="7")
            for each in sorted(out.iterdir()):
                check((again / each.name).read_bytes() == each.read_bytes(), f"made again: {each.name} is the same")
        what_cannot_be_released_is_refused(folder)
        copy = what_is_read_first(folder)
        what_has_two_versions_is_refused(copy)
        what_is_not_committed_is_refused(copy)


def make(out, url, **environment):
    """Runs deploy/release from another folder, with whatever umask."""
    command = [ROOT / "deploy/release", VERSION, "--url", url, "--out", out]
    for arch, program in PROGRAMS.items():
        command += ["--program", f"{arch}={program}"]
    settings = {"SOURCE_DATE_EPOCH": str(EPOCH), "VESTIBULE_REVISION": "0" * 40, **environment}
    environment = {**os.environ, **settings}
    umask = 0o077 if "TZ" in settings else 0o002
    done = subprocess.run(command, cwd=out.parent, env=environment, umask=umask, capture_output=True, text=True, timeout=1500)
    check(done.returncode == 0, "deploy/release works", done.stdout[-3000:] + done.stderr[-3000:], quiet=True)
    check(re.fullmatch(rf"{out} sha256:[0-9a-f]{{64}}\n", done.stdout), "it tells the folder and the image's digest", done.stdout)
    return out


def name(arch):
    return f"vestibule-{VERSION}-linux-{arch}"


def the_files_are_these(out):
    expected = {"vestibule.yaml", "SHA256SUMS", f"vestibule-{VERSION}.oci.tar"}
    expected |= {f"vestibule-{VERSION}.tgz", f"vestibule-injector-{VERSION}.tgz"}
    expected |= {f"{name(arch)}.{ending}" for arch in PROGRAMS for ending in ("tar.gz", "cdx.json")}
    check({each.name for each in out.iterdir()} == expected, f"a release is {len(expected)} files", sorted(out.iterdir()))
    check(all(each.stat().st_mode & 0o777 == 0o644 for each in out.iterdir()), "everybody may read them", quiet=True)
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=out)
    listed = {line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    check(listed == expected - {"SHA256SUMS"}, "each has its checksum", listed)
    with tarfile.open(out / f"vestibule-{VERSION}.oci.tar") as reader:
        top = json.load(reader.extractfile("index.json"))["manifests"][0]
        below = json.loads(blob(reader, top))["manifests"] if len(PROGRAMS) > 1 else [top]
        architectures = {each["platform"]["architecture"] for each in below}
        check(architectures == set(PROGRAMS), "the image is for the same architectures", architectures)
        for each in below:
            arch, parts = each["platform"]["architecture"], json.loads(blob(reader, each))
            settings = json.loads(blob(reader, parts["config"]))
            with tarfile.open(fileobj=io.BytesIO(blob(reader, parts["layers"][0]))) as layer:
                program = layer.extractfile("vestibule").read()
            good = settings["architecture"] == arch and program == PROGRAMS[arch].read_bytes()
            check(good, f"{arch}: the image says so, and has the program", settings)


def blob(reader, descriptor):
    return reader.extractfile(f"blobs/{descriptor['digest'].replace(':', '/')}").read()


def the_archive_is_whole(out, folder, arch):
    """The folder that it unpacks to."""
    with tarfile.open(out / f"{name(arch)}.tar.gz") as reader:
        for entry in reader:
            check(entry.name.split("/")[0] == name(arch), "all in one folder", entry.name, quiet=True)
            check((entry.uid, entry.gid, entry.mtime) == (0, 0, EPOCH), "root's, of that time", entry.name, quiet=True)
            check(entry.isdir() or entry.isfile() and entry.mode in (0o644, 0o755), "plain", entry.name, quiet=True)
        reader.extractall(folder, filter="data")
    unpacked = folder / name(arch)
    program = unpacked / "vestibule"
    check(program.read_bytes() == PROGRAMS[arch].read_bytes(), f"{arch}: the archive has the program")
    header = program.read_bytes()[:64]
    check(header[:6] == b"\x7fELF\x02\x01" and struct.unpack_from("<18xH", header)[0] == ELF_MACHINES[arch],
          f"{arch}: which is for that", header)  # fmt: skip
    runs = [program] if arch == HERE else [shutil.which(EMULATORS[arch]), program]
    if runs[0]:
        check(run(*runs, "--version") == f"vestibule {VERSION}\n", f"{arch}: and runs")
        check(run(*runs, "completions", "bash") == (unpacked / "completions/vestibule.bash").read_text(),
              f"{arch}: and prints the archive's completions", quiet=True)  # fmt: skip
    else:
        print(f"NOT CHECKED: whether the program for {arch} runs: {EMULATORS[arch]} is not there", flush=True)
    for file in ("LICENSE", "LICENSES-OF-DEPENDENCIES", "README.md"):
        check((unpacked / file).stat().st_size > 1000, f"the archive has {file}", quiet=True)
    bill = out / f"{name(arch)}.cdx.json"
    check((unpacked / "vestibule.cdx.json").read_bytes() == bill.read_bytes(), f"{arch}: the same bill in it and beside it")
    named = {each["name"] for each in json.loads(bill.read_text())["components"]}
    check({"rustls", "hyper", "kube", "glibc"} <= named, f"{arch}: the bill names what the program is made of", named)
    check(not any("ca-certificates" in each for each in named), "and no CA roots, which are the image's", named)
    return unpacked


def the_other_one_serves(folder, unpacked):
    """Under its emulator, where there is one: it hashes, signs, does TLS, and passes a request on."""
    for arch, root in unpacked.items():
        emulator = shutil.which(EMULATORS[arch])
        if arch == HERE or not emulator:
            continue
        script = folder / f"emulated-{arch}"
        script.write_text(f'#!/bin/sh\nexec {emulator} {root / "vestibule"} "$@"\n')
        script.chmod(0o755)
        sidecar.BINARY = script
        with Application() as application, Sidecar(application.url) as proxy:
            headers = {"Authorization": f"Bearer {proxy.token()}"}
            status, _, body = proxy.request("GET", "/here", headers=headers)
            check((status, json.loads(body).get("path")) == (200, "/here"), f"{arch}: emulated, it serves", (status, body))
            check(proxy.request("GET", "/here")[0] == 401, f"{arch}: and not without a token", quiet=True)


def architectures_differ_in_the_program_alone(unpacked):
    files = [
        {path: file.read_bytes() for file in root.rglob("*") if file.is_file() and (path := str(file.relative_to(root)))}
        for root in unpacked.values()
    ]
    own = {"vestibule", "vestibule.cdx.json", "LICENSES-OF-DEPENDENCIES"}
    for path in set().union(*files) - own:
        check(len({each.get(path) for each in files}) == 1, f"{path} is the same for all architectures", quiet=True)


def the_charts_are_those_of_the_repository(out):
    for chart, settings in {"vestibule": [], "vestibule-injector": ["--kube-version", "1.36.0"]}.items():
        package, source = out / f"{chart}-{VERSION}.tgz", ROOT / "charts" / chart
        about = run(HELM, "show", "chart", package)
        check(f"\nversion: {VERSION}\n" in about and f"appVersion: {VERSION}\n" in about, f"{chart}: the chart's version", about)
        rendered = [run(HELM, "template", "release", chart, *settings) for chart in (package, source)]
        check(rendered[0] == rendered[1] and rendered[0].count("\nkind: ") > 2, f"{chart}: it renders as the repository's")
        with tarfile.open(package) as reader:
            entries = reader.getmembers()
        check({each.mtime for each in entries} == {EPOCH}, f"{chart}: of the release's time", quiet=True)
        check(any(each.name == f"{chart}/README.md" for each in entries), f"{chart}: with its README", quiet=True)


def what_cannot_be_released_is_refused(folder):
    empty, stale = folder / "there", folder / "stale"
    empty.mkdir()
    stale.write_text("#!/bin/sh\necho vestibule 0.0.1\n")
    stale.chmod(0o755)
    program = f"{HERE}={PROGRAMS[HERE]}"
    for arguments, words in [
        (["9.9.9", "--url", URL, "--program", program], "charts/vestibule/Chart.yaml has " + VERSION),
        ([VERSION, "--program", program], "--url"),
        ([VERSION, "--url", "example.com", "--program", program], "not an http or https URL"),
        ([VERSION, "--url", f"{URL}/a b", "--program", program], "not an http or https URL"),
        ([VERSION, "--url", URL, "--program", f"{HERE}={folder}/nowhere"], "with a file that is there"),
        ([VERSION, "--url", URL, "--program", program, "--out", empty], "is there already"),
        ([VERSION, "--url", URL, "--program", f"{HERE}={stale}", "--out", folder / "none"], "calls itself 'vestibule 0.0.1'"),
    ]:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), "VESTIBULE_REVISION": "0" * 40}
        refused([ROOT / "deploy/release", *arguments], environment, words)
    left = [each.name for each in folder.iterdir() if each.name.startswith(".") or each.name == "none"]
    check(not left and not list(empty.iterdir()), "and nothing is left behind", left)


def what_is_read_first(folder):
    """A copy of what deploy/release reads before it builds anything, in no git repository."""
    copy = folder / "copy"
    for each in ("deploy", "charts"):
        shutil.copytree(ROOT / each, copy / each)
    (copy / "docs").mkdir()
    for each in ("Cargo.toml", "Dockerfile", "docs/openapi.yaml"):
        shutil.copy(ROOT / each, copy / each)
    return copy


def what_has_two_versions_is_refused(copy):
    for file, before in {
        "Cargo.toml": 'version = "',
        "Dockerfile": "ARG VERSION=",
        "docs/openapi.yaml": "  version: ",
        "deploy/helm-plugin/plugin.yaml": "version: ",
        "charts/vestibule/Chart.yaml": "version: ",
        "charts/vestibule-injector/Chart.yaml": "appVersion: ",
    }.items():
        text = (copy / file).read_text()
        check(text.count(f"\n{before}{VERSION}") == 1, f"{file} tells its version", quiet=True)
        (copy / file).write_text(text.replace(f"\n{before}{VERSION}", f"\n{before}0.0.1"))
        refused([copy / "deploy/release", VERSION, "--url", URL], dict(os.environ), f"not version {VERSION}: {file} has 0.0.1\n")
        (copy / file).write_text(text)


def what_is_not_committed_is_refused(copy):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "VESTIBULE_REVISION"))}
    environment["GIT_CEILING_DIRECTORIES"] = str(copy.parent)
    command = [copy / "deploy/release", VERSION, "--url", URL]
    refused(command, environment, "where there is no git repository")
    run("git", "init", "--quiet", cwd=copy, env=environment)
    refused(command, environment, "commit or remove what is changed")


def refused(command, environment, words):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    good = done.returncode != 0 and not done.stdout and words in done.stderr and "Traceback" not in done.stderr
    check(good, f"refused: {words.strip()}", (done.returncode, done.stdout, done.stderr))


def run(*command, cwd=None, env=None):
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, f"{Path(command[0]).name} works", done.stdout[-3000:] + done.stderr[-3000:], quiet=True)
    return done.stdout


if __name__ == "__main__":
    begun = time.monotonic()
    main()
    print(f"{time.monotonic() - begun:.0f} s")
