"""Archives of all images that are used, for clusters that pull none: the one under test, and stand-ins for two others.

Those have the others' names, and what the tests and the charts want of them: whoami, and curl with a shell.
"""

import hashlib
import io
import os
import platform
import re
import shlex
import shutil
import subprocess
import tarfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader

from cluster import HERE, ROOT

WHOAMI = "docker.io/traefik/whoami:v1.11.0"
CURL = "docker.io/curlimages/curl:8.17.0"
APPLETS = ["base64", "cat", "date", "head", "ls", "rm", "sed", "sh", "sleep", "touch", "tr", "wc"]
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def load(command, name, program, folder):
    """Makes the archives, `name` from `program`, and hands each to `command`."""
    ours = folder / "vestibule.tar"
    run(ROOT / "deploy/image", "--program", f"{ARCH}={program}", "--name", name, "--out", ours)
    whoami = folder / "whoami"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    run("go", "build", "-trimpath", "-o", whoami, ".", cwd=HERE / "whoami", env=environment)
    archives = [
        ours,
        archive(folder / "whoami.tar", WHOAMI, {"whoami": whoami.read_bytes()}, {"Entrypoint": ["/whoami"]}),
        archive(folder / "curl.tar", CURL, *curl()),
    ]
    for each in archives:
        run(*shlex.split(command), each)


def curl():
    """This machine's curl with all that it is linked to, and a shell: files, links, and how it is started."""
    files, links = {"bin/busybox": read(shutil.which("busybox"))}, {f"bin/{applet}": "busybox" for applet in APPLETS}
    program = shutil.which("curl")
    files["bin/curl"] = read(program)
    for library in re.findall(r"(/\S+)", run("ldd", program)):
        files[library.removeprefix("/")] = read(library)
    files["tmp/.keep"] = b""
    return files, {"Env": ["PATH=/bin"], "User": "65532"}, links


def archive(out, name, files, config, links=()):
    """An OCI archive of one layer, put together as deploy/image does it."""
    maker = by_path("deploy/image")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as writer:
        for path in sorted(files):
            entry = tarfile.TarInfo(path)
            entry.mode, entry.size = 0o755, len(files[path])
            writer.addfile(entry, io.BytesIO(files[path]))
        for path, target in dict(links).items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            writer.addfile(entry)
    layer = layer.getvalue()
    blobs = maker.Blobs()
    document = {
        "architecture": ARCH,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{maker.OCI}.manifest.v1+json",
        "config": blobs.put(f"{maker.OCI}.config.v1+json", maker.encoded(document)),
        "layers": [blobs.put(f"{maker.OCI}.layer.v1.tar", layer)],
    }
    top = blobs.put(manifest["mediaType"], maker.encoded(manifest))
    top["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    out.write_bytes(maker.archive(blobs, top, 0))
    return out


def by_path(script):
    """A script without the ending of a module, as a module."""
    loader = SourceFileLoader(script.replace("/", "_"), str(ROOT / script))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def read(path):
    with open(path, "rb") as file:
        return file.read()


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, timeout=900, **options)
    if done.returncode:
        raise SystemExit(f"tests/cluster: {shlex.join(map(str, command))} ends with {done.returncode}")
    return done.stdout
