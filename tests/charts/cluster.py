"""A real API server and etcd on loopback, without controllers and nodes: what is sent is judged and kept, and nothing runs."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VESTIBULE = Path(os.environ.get("VESTIBULE_BIN", ROOT / "target/debug/vestibule"))
START_SECONDS, COMMAND_SECONDS, STOP_SECONDS = 90, 120, 20
TOKEN = "administrator"


class Cluster:
    """`with Cluster(folder of the programs) as cluster:` runs both until the block ends."""

    def __init__(self, programs):
        self._programs = Path(programs)
        self._folder = Path(tempfile.mkdtemp(prefix="vestibule-charts-"))
        self._running = []
        self.kubeconfig = self._folder / "kubeconfig"
        self._port, client, peer = free_ports(3)
        self._etcd_url, self._peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kubectl(self, *arguments, stdin=None, fails=False):
        """What kubectl prints. With `fails`, it must not succeed, and what it says of that is returned."""
        return self.run([self._programs / "kubectl", *arguments], stdin, fails)

    def helm(self, program, *arguments, stdin=None, fails=False):
        return self.run([program, *arguments], stdin, fails)

    def vestibule(self, *arguments, stdin=None, fails=False):
        return self.run([VESTIBULE, *arguments, "--kubeconfig", self.kubeconfig], stdin, fails)

    def run(self, command, stdin=None, fails=False):
        home = self._folder / "home"
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(self.kubeconfig)}
        return run(command, stdin, fails, environment)

    def _start(self):
        at = self._folder
        (at / "tokens").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", at / "accounts.key"])
        self._launch(
            "etcd", "--name=one", f"--data-dir={at}/etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={self._etcd_url}", f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={self._peer_url}", f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=one={self._peer_url}",
        )  # fmt: skip
        self._launch(
            "kube-apiserver", f"--etcd-servers={self._etcd_url}", "--bind-address=127.0.0.1",
            f"--secure-port={self._port}", "--advertise-address=192.0.2.1", "--service-cluster-ip-range=198.51.100.0/24",
            "--endpoint-reconciler-type=none", f"--cert-dir={at}", f"--token-auth-file={at}/tokens",
            "--anonymous-auth=false", "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={at}/accounts.key", f"--service-account-signing-key-file={at}/accounts.key",
        )  # fmt: skip
        self._await_certificate()
        self.kubeconfig.write_text(
            f"""apiVersion: v1
kind: Config
clusters: [{{name: it, cluster: {{server: "https://127.0.0.1:{self._port}", certificate-authority: {at}/apiserver.crt}}}}]
users: [{{name: it, user: {{token: {TOKEN}}}}}]
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
current-context: it
"""
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.kubectl("get", "--raw=/readyz")
            except AssertionError:
                self._still_runs(deadline)

    def _await_certificate(self):
        deadline = time.monotonic() + START_SECONDS
        while not (self._folder / "apiserver.crt").exists():
            self._still_runs(deadline)

    def _still_runs(self, deadline):
        ended = [process.args[0] for process in self._running if process.poll() is not None]
        log = (self._folder / "kube-apiserver.log").read_text()[-3000:]
        assert not ended and time.monotonic() < deadline, f"the API server does not start: {ended}\n{log}"
        time.sleep(0.2)

    def _launch(self, name, *arguments):
        with open(self._folder / f"{name}.log", "w") as log:
            self._running.append(
                subprocess.Popen([self._programs / name, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )


def run(command, stdin=None, fails=False, environment=None):
    """Standard output; with `fails`, the command must not succeed, and all that it says is returned."""
    command = [str(part) for part in command]
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=environment
    )
    shown = " ".join(command[:6])
    assert (done.returncode != 0) == fails, f"{shown} ends with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr if fails else done.stdout


def free_ports(count):
    """Ports that nobody listens on; held together until all are chosen, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
