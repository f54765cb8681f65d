"""The image: what deploy/image makes is well formed, small and the same each time, and its root file system works."""

import gzip
import hashlib
import io
import json
import os
import re
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
import sidecar  # noqa: E402
from names import NameServer  # noqa: E402
from sidecar import ROOT, Application, Sidecar, check, skip_without  # noqa: E402

PROGRAM = Path(os.environ["VESTIBULE_STATIC"])
"""What deploy/binary has built for this machine."""
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
EPOCH = 1_700_000_000
LIMIT = 20_000_000
"""Bytes that the image may have, unpacked."""
SHARE = "usr/share/vestibule"
ROOTS = "etc/ssl/certs/ca-certificates.crt"
FILES = {
    "vestibule": 0o755,
    ROOTS: 0o644,
    f"{SHARE}/LICENSE": 0o644,
    f"{SHARE}/LICENSES-OF-DEPENDENCIES": 0o644,
    f"{SHARE}/vestibule.cdx.json": 0o644,
}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
REVISION = "0123456789abcdef0123456789abcdef01234567"
LABELS = {
    "org.opencontainers.image.title": "Vestibule",
    "org.opencontainers.image.description": CARGO["description"],
    "org.opencontainers.image.licenses": CARGO["license"],
    "org.opencontainers.image.version": CARGO["version"],
    "org.opencontainers.image.revision": REVISION,
}


def main():
    skip_without("skopeo", "unshare", "openssl", "hadolint")
    with tempfile.TemporaryDirectory(prefix="vestibule-image-") as folder:
        folder = Path(folder)
        archive = folder / "image.oci.tar"
        make("--program", f"{ARCH}={PROGRAM}", "--name", "localhost/vestibule:test", "--out", archive)
        the_archive_is_sound(archive)
        files = the_layer_is_what_it_should_be(archive)
        the_bill_is_in_it_and_beside_it(archive, files)
        a_reader_of_others_understands_it(archive)
        the_same_program_makes_the_same_image(archive, folder)
        the_dockerfile_agrees(folder, files)
        what_would_not_run_is_refused(folder)
        both_architectures_fit_in_one(folder)
        its_root_file_system_works(folder, files)


def make(*arguments, environment=(), cwd=ROOT, fails=False):
    """Runs deploy/image; its output, or what it complains of where it has to fail."""
    settings = {"SOURCE_DATE_EPOCH": str(EPOCH), "VESTIBULE_REVISION": REVISION, **dict(environment)}
    command = [ROOT / "deploy/image", *arguments]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300)
    what = f"deploy/image {'refuses' if fails else 'works'}"
    check((done.returncode != 0) == fails, what, done.stdout + done.stderr, quiet=True)
    return done.stderr if fails else done.stdout


def the_archive_is_sound(archive):
    with tarfile.open(archive) as reader:
        names = reader.getnames()
        check(json.load(reader.extractfile("oci-layout")) == {"imageLayoutVersion": "1.0.0"}, "it says that it is OCI")
        for name in names:
            if name.startswith("blobs/sha256/"):
                data = reader.extractfile(name).read()
                check(hashlib.sha256(data).hexdigest() == Path(name).name, "a blob has its digest", name, quiet=True)
    index, manifest, config, layer = parts(archive)
    for descriptor, data in ((manifest["config"], config), (manifest["layers"][0], layer)):
        check(descriptor["size"] == len(data), "a blob has its size", descriptor, quiet=True)
    check(len([name for name in names if "sha256/" in name]) == 3, "three blobs, and each is referred to", names)
    settings = json.loads(config)
    found = "sha256:" + hashlib.sha256(gzip.decompress(layer)).hexdigest()
    check(settings["rootfs"]["diff_ids"] == [found], "the layer is what its configuration says", settings["rootfs"])
    check(index["manifests"][0]["platform"]["architecture"] == ARCH, f"it is for {ARCH}", index)
    annotations = index["manifests"][0]["annotations"]
    check(annotations["io.containerd.image.name"] == "localhost/vestibule:test", "it has its name", annotations)


def the_layer_is_what_it_should_be(archive):
    """The regular files, by path."""
    layer = gzip.decompress(parts(archive)[3])
    files = {}
    with tarfile.open(fileobj=io.BytesIO(layer)) as reader:
        for entry in reader:
            check(entry.isfile() or entry.isdir(), "files and folders alone", entry.name, quiet=True)
            check((entry.uid, entry.gid, entry.mtime) == (0, 0, EPOCH), "root's, of that time", entry.name, quiet=True)
            check(not entry.mode & 0o7022, "nobody else may write, nothing is setuid", entry.name, quiet=True)
            if entry.isfile():
                files[entry.name] = (reader.extractfile(entry).read(), entry.mode)
    check({name: mode for name, (_, mode) in files.items()} == FILES, "one program, no shell, the roots", list(files))
    size = sum(len(data) for data, _ in files.values())
    check(size <= LIMIT, f"{size / 1e6:.1f} MB unpacked, {archive.stat().st_size / 1e6:.1f} MB packed", size)
    check(files["vestibule"][0] == PROGRAM.read_bytes(), "the program is the one that was given")
    # Where it was built is nobody's business, and would make it another one elsewhere.
    for path in (str(ROOT), str(Path.home() / ".cargo")):
        check(path.encode() not in files["vestibule"][0], "the program names no path of this machine", path, quiet=True)
    # As a C compiler writes the present day.
    days = set(re.findall(rb"\b[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{4}\b", files["vestibule"][0]))
    check(days <= {b"Jan  1 1970"}, "the program does not tell when it was built", days)
    check(files[ROOTS][0].count(b"BEGIN CERTIFICATE") > 50, "roots of the public authorities")
    return files


def the_bill_is_in_it_and_beside_it(archive, files):
    inside = files[f"{SHARE}/vestibule.cdx.json"][0]
    check(archive.with_name(f"image.{ARCH}.cdx.json").read_bytes() == inside, "the same bill in it and beside it")
    bill = json.loads(inside)
    names = {each["name"] for each in bill["components"]}
    check({"rustls", "hyper", "kube", "/" + ROOTS} <= names, "the bill names crates and roots", names)
    check("glibc" in names, "and the C library", names)
    texts = files[f"{SHARE}/LICENSES-OF-DEPENDENCIES"][0].decode()
    crates = [each for each in bill["components"] if each.get("purl", "").startswith("pkg:cargo/")]
    missing = [each["name"] for each in crates if f"{each['name']} {each['version']}" not in texts]
    check(not missing, f"the licences of {len(crates)} crates", missing)


def a_reader_of_others_understands_it(archive):
    """skopeo reads it as registries and container tools do."""
    inspected = skopeo("inspect", f"oci-archive:{archive}")
    check((inspected["Architecture"], inspected["Os"]) == (ARCH, "linux"), "skopeo reads it", inspected)
    check(inspected["Labels"] == LABELS, "its labels are these five, as the Dockerfile and Cargo.toml have them", inspected)
    check(inspected["Created"] == "2023-11-14T22:13:20Z", "it is as old as SOURCE_DATE_EPOCH says", inspected)
    config = skopeo("inspect", "--config", f"oci-archive:{archive}")["config"]
    check(config["User"] == "65532:65532", "it runs as nobody in particular, by number", config)
    check((config["Entrypoint"], config["Cmd"]) == (["/vestibule"], ["serve"]), "it runs `vestibule serve`", config)
    check(set(config["ExposedPorts"]) == {"10443/tcp", "10444/tcp"}, "it tells its ports", config)


def the_same_program_makes_the_same_image(archive, folder):
    copy = folder / "copy"
    copy.write_bytes(PROGRAM.read_bytes())
    again = folder / "again.tar"
    environment = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    named = ("--program", f"{ARCH}=copy", "--name", "localhost/vestibule:test")
    make(*named, "--out", again, environment=environment.items(), cwd=folder)
    check(again.read_bytes() == archive.read_bytes(), "made again, elsewhere: the same bytes")
    older = folder / "older.tar"
    make("--program", f"{ARCH}={PROGRAM}", "--out", older, environment=[("SOURCE_DATE_EPOCH", "1600000000")])
    check(older.read_bytes() != archive.read_bytes(), "of another time: other bytes")


def the_dockerfile_agrees(folder, files):
    done = subprocess.run(["hadolint", "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True, text=True)
    check(done.returncode == 0, "hadolint has nothing to say", done.stdout + done.stderr)
    stage = re.split(r"(?m)^FROM ", DOCKERFILE)[-1]
    check(f"ARG VERSION={CARGO['version']}\n" in stage, "the Dockerfile has Cargo.toml's version")
    compiler = re.search(r'channel = "(.+)"', (ROOT / "rust-toolchain.toml").read_text())[1]
    check(f"ARG BUILD_IMAGE=rust:{compiler}-" in DOCKERFILE, "and the compiler of rust-toolchain.toml")
    copied = re.findall(r"(?m)^(?:COPY|ADD|RUN)\b.*", stage)
    check(copied == ["COPY --from=build /image/ /"], "its last stage adds what deploy/image assembles", copied)
    build = re.search(r"RUN (deploy/binary (?:.*\\\n)*.*)", DOCKERFILE)[1]
    check("--rootfs /image" in build and "deploy/binary" in build, "and that is what is built there", build)
    root = folder / "rootfs"
    make("--program", f"{ARCH}={PROGRAM}", "--rootfs", root)
    found = {str(each.relative_to(root)): each for each in root.rglob("*") if each.is_file()}
    check({name: each.read_bytes() for name, each in found.items()} == {name: data for name, (data, _) in files.items()},
          "the same files either way", list(found))  # fmt: skip
    check({name: each.stat().st_mode & 0o7777 for name, each in found.items()} == FILES, "with the same modes")
    check({each.stat().st_mtime for each in root.rglob("*")} == {EPOCH}, "and of the same time")


def what_would_not_run_is_refused(folder):
    other = {"amd64": "arm64", "arm64": "amd64"}[ARCH]
    refused = [(Path("/bin/true"), ARCH, "not static"), (PROGRAM, other, f"not for {other}"), (ROOT / "LICENSE", ARCH, "not a")]
    for program, arch, word in refused:
        said = make("--program", f"{arch}={program}", "--out", folder / "none.tar", fails=True)
        check(word in said and said.count("\n") == 1, f"{program} for {arch} is refused: {said.strip()}", said)
    check(not (folder / "none.tar").exists(), "and nothing is written")


def both_architectures_fit_in_one(folder):
    """What is in the second is not looked at but for its header: there is no other machine here to run it."""
    other = {"amd64": "arm64", "arm64": "amd64"}[ARCH]
    program = bytearray(PROGRAM.read_bytes())
    program[18:20] = {"amd64": 62, "arm64": 183}[other].to_bytes(2, "little")
    (folder / "other").write_bytes(program)
    archive = folder / "both.tar"
    make("--program", f"{ARCH}={PROGRAM}", "--program", f"{other}={folder / 'other'}", "--out", archive)
    for arch in (ARCH, other):
        inspected = skopeo("inspect", "--override-arch", arch, f"oci-archive:{archive}")
        check(inspected["Architecture"] == arch, f"one archive for both: {arch} is found", inspected)


def its_root_file_system_works(folder, files):
    """In a sandbox that has the image's files, the pod's and nothing else; as a user without rights, nothing writable."""
    root = folder / "root"
    for name, (data, mode) in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(mode)
    certificate(folder)
    with Application() as application, NameServer({"by-dns.test": "127.0.0.1"}) as names:
        port = application.server_address[1]
        run_in(folder, root, names.address)
        for host, how in (("127.0.0.1", "address"), ("by-file.test", "/etc/hosts"), ("by-dns.test", "DNS")):
            with Sidecar(f"http://{host}:{port}") as proxy:
                check(status(proxy) == 200, f"in the image: a request to an application by its {how}")
                check(proxy.request("GET", "/")[0] == 401, "in the image: none without a token", quiet=True)
        check(names.asked > 0, "the name server was asked", names.asked)
    with Application() as application:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "app.crt", folder / "app.key")
        application.socket = tls.wrap_socket(application.socket, server_side=True)
        port = application.server_address[1]
        run_in(folder, root, names.address)
        with Sidecar(f"https://by-file.test:{port}") as proxy:
            check(status(proxy) == 502, "in the image: an application that no root vouches for is refused")
        run_in(folder, root, names.address, roots=folder / "app.crt")
        with Sidecar(f"https://by-file.test:{port}") as proxy:
            check(status(proxy) == 200, f"in the image: the roots are those of /{ROOTS}")


def run_in(folder, root, server, roots=None):
    """Makes what `Sidecar` starts a script that runs the image's program on the image's files."""
    # What a container runtime makes room for.
    for name in ("proc", "dev", "tmp"):
        (root / name).mkdir(exist_ok=True)
    for name, text in (("hosts", "127.0.0.1 localhost by-file.test\n"), ("resolv.conf", f"nameserver {server}\n")):
        (folder / name).write_text(text)
        (root / "etc" / name).touch()
    binds = {"/proc": "proc", "/dev": "dev", folder / "hosts": "etc/hosts", folder / "resolv.conf": "etc/resolv.conf"}
    if roots:
        binds[roots] = ROOTS
    mounts = "\n".join(f"  mount --rbind {source} {root}/{place}" for source, place in binds.items())
    script = folder / "in-image"
    # The last argument is the configuration; its folder is what a pod would mount. Nothing here forks: a signal reaches
    # the program.
    script.write_text(
        f"""#!/bin/sh
for last; do :; done
exec unshare --user --map-root-user --mount sh -euc '
  mount --bind {root} {root}
{mounts}
  mkdir -p "{root}$1"
  mount --bind "$1" "{root}$1"
  mount -o remount,bind,ro {root}
  shift
  exec env -i unshare --user --map-user=65532 --map-group=65532 --root={root} --wd=/ /vestibule "$@"
' sh "$(dirname "$last")" "$@"
"""
    )
    script.chmod(0o755)
    sidecar.BINARY = script


def status(proxy):
    return proxy.request("GET", "/", headers={"Authorization": f"Bearer {proxy.token()}"})[0]


def certificate(folder):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=by-file.test"
    command += " -addext subjectAltName=DNS:by-file.test -addext basicConstraints=critical,CA:FALSE -keyout app.key -out app.crt"
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, timeout=30)
    check(done.returncode == 0, "openssl req", done.stderr, quiet=True)


def parts(archive):
    """Index and manifest, and the bytes of configuration and layer."""
    with tarfile.open(archive) as reader:
        def blob(descriptor):
            return reader.extractfile(f"blobs/{descriptor['digest'].replace(':', '/')}").read()

        index = json.load(reader.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]))
        return index, manifest, blob(manifest["config"]), blob(manifest["layers"][0])


def skopeo(*arguments):
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, "skopeo", done.stderr, quiet=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    begun = time.monotonic()
    main()
    print(f"{time.monotonic() - begun:.0f} s")
