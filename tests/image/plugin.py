"""The plugin for kubectl: Krew's own validator and installer take the release, and kubectl runs and completes it."""

import functools
import json
import os
import re
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from sidecar import check

TOOLS = ("kubectl", "kubectl-krew", "validate-krew-manifest")


class Web:
    """A server on loopback for a folder: what Krew downloads has to lie somewhere."""

    def __init__(self, folder):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def krew_installs_it(out, name, version, folder):
    """`out`: the release, which lies where its manifest says; `name`: of the archive for this machine."""
    manifest, archive = out / "vestibule.yaml", out / f"{name}.tar.gz"
    done = run(["validate-krew-manifest", "-manifest", manifest])
    platforms = manifest.read_text().count("matchLabels")
    said = done.stdout + done.stderr
    good = done.returncode == 0 and f"all {platforms} spec.platforms installed fine" in said
    check(good, f"the index's validator downloads and installs all {platforms} platforms", said[-3000:])
    bad = folder / "bad" / "vestibule.yaml"
    bad.parent.mkdir()
    bad.write_text(re.sub(r"sha256: [0-9a-f]{8}", "sha256: 00000000", manifest.read_text()))
    done = run(["validate-krew-manifest", "-manifest", bad])
    check(done.returncode != 0 and "checksum" in done.stdout + done.stderr, "and does not with another checksum", done)

    krew = folder / "krew"
    path = f"{krew / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "KREW_ROOT": str(krew), "PATH": path, "HOME": str(folder), "KREW_NO_UPGRADE_CHECK": "1"}
    environment.pop("KUBECONFIG", None)
    kubectl = functools.partial(run_kubectl, environment)
    refused = kubectl("krew", "install", f"--manifest={bad}", f"--archive={archive}")
    left = (krew / "bin/kubectl-vestibule").is_symlink()
    check(refused.returncode != 0 and not left, "Krew refuses an archive that is another one", refused)
    installed = kubectl("krew", "install", f"--manifest={manifest}", f"--archive={archive}")
    check(installed.returncode == 0 and "Installed plugin: vestibule" in installed.stderr, "Krew installs the archive", installed)
    check("kubectl_complete-vestibule" in installed.stderr, "and tells of rights and completions", installed, quiet=True)
    files = {each.name for each in (krew / "store/vestibule" / f"v{version}").iterdir()}
    check(files == {"vestibule", "LICENSE", "LICENSES-OF-DEPENDENCIES"}, "the program and the licences", files)
    it_is_a_plugin(kubectl, krew, version, folder)


def it_is_a_plugin(kubectl, krew, version, folder):
    listed = kubectl("plugin", "list")
    check(str(krew / "bin/kubectl-vestibule") in listed.stdout, "kubectl lists the plugin", listed)
    check(kubectl("vestibule", "--version").stdout == f"vestibule {version}\n", "kubectl runs it")
    usage = kubectl("vestibule", "users", "lst")
    told = usage.returncode == 64 and "`kubectl vestibule users --help`" in usage.stderr
    check(told, "it knows how it is called, and its exit code comes through", usage)
    store = folder / "store"
    for part in ("users", "keys"):
        (store / part).mkdir(parents=True)
    added = kubectl("vestibule", "users", "add", "ann", "--group", "Administrator", "--generate", "--dir", store)
    check(added.returncode == 0, "kubectl vestibule users add", added)
    users = json.loads(kubectl("vestibule", "users", "list", "--dir", store, "-o", "json").stdout)
    check([each["name"] for each in users] == ["ann"], "kubectl vestibule users list", users)
    nowhere = kubectl("vestibule", "users", "list")
    asks = nowhere.returncode == 64 and nowhere.stderr.startswith("vestibule: ") and "kubeconfig" in nowhere.stderr
    check(asks, "without a directory it wants a cluster", nowhere)

    program = krew / "bin/kubectl_complete-vestibule"
    program.write_text(kubectl("vestibule", "completions", "kubectl").stdout)
    program.chmod(0o755)
    algorithms = "HS512\nES256\nEdDSA\n:4\n"
    for words, expected in [(["users", "dis"], "disable\n:4\n"), (["keys", "rotate", "--algorithm", ""], algorithms)]:
        completed = kubectl("__complete", "vestibule", *words)
        check(completed.stdout == expected, f"kubectl completes {' '.join(words)}", completed)


def run_kubectl(environment, *arguments):
    return run(["kubectl", *arguments], environment)


def run(command, environment=None):
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
