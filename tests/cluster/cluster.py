"""The cluster that KUBECONFIG names, in namespaces of this run's own that are taken away again."""

import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMAND_SECONDS, CLEANING_SECONDS = 240, 180
COLUMNS = "custom-columns=OBJECT:.involvedObject.name,REASON:.reason,SAID:.message"


class CommandFailed(Exception):
    pass


class Stopped(Exception):
    """The whole run is over: by a signal."""


class Cluster:
    """`with Cluster(folder, image) as cluster:` leaves nothing behind. `image` is the sidecar's, with its tag or digest."""

    def __init__(self, folder, image):
        self.folder, self.image = folder, image
        self.id = f"vestibule-{secrets.token_hex(3)}"
        self.environment = {**os.environ, "KUBECONFIG": str(folder / "kubeconfig")}
        self._lock = threading.Lock()
        self._running, self.stopped = set(), False
        self._names, self._releases = [], []

    def __enter__(self):
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _begin(self):
        # A copy, whose namespace is this run's: what names none happens there, and nothing in `default`.
        raw = self.run("kubectl", "config", "view", "--raw", "--flatten", "--minify", environment=os.environ)
        config = self.folder / "kubeconfig"
        config.touch(0o600)
        config.write_text(raw)
        self.elsewhere = self.namespace("elsewhere", restricted=False)
        self.run("kubectl", "config", "set-context", "--current", f"--namespace={self.elsewhere.name}")

    def __exit__(self, *error):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self.stop()
        print(f"\ntaking away: {' '.join(self._names)}", flush=True)
        for release in self._releases:
            with contextlib.suppress(CommandFailed):
                self.run("helm", "uninstall", release, "--ignore-not-found", cleaning=True)
        if not self._names:
            return
        command = ["kubectl", "delete", "namespace", "--ignore-not-found", *self._names]
        self.run(*command, "--wait=false", cleaning=True)
        # Nobody waits for an orderly end of what is in them, nor for their controller, which waits by the pods' grace.
        for name in self._names:
            with contextlib.suppress(CommandFailed):
                self.run("kubectl", "delete", "pods", "--all", f"--namespace={name}", "--grace-period=1", "--wait=false", cleaning=True)
        self.run(*command, f"--timeout={CLEANING_SECONDS}s", seconds=CLEANING_SECONDS + 30, cleaning=True)

    def stop(self):
        """Ends what runs, and lets nothing more begin but for taking away."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for process in running:
            end(process)

    def name(self, label):
        """Of a namespace that is taken away in the end, whoever makes it."""
        name = f"{self.id}-{label}"
        self._names.append(name)
        return name

    def namespace(self, label, restricted=True):
        """Makes one, in which Kubernetes takes only pods that ask for no privilege."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
        made = Namespace(self, self.name(label))
        metadata = {"name": made.name, "labels": {**labels, "vestibule-test": self.id}}
        self.run("kubectl", "create", "--filename=-", stdin=json.dumps(object_of("v1", "Namespace", metadata)))
        return made

    def part_namespace(self, label):
        """The one that was made under this label, or None."""
        name = f"{self.id}-{label}"
        return Namespace(self, name) if name in self._names else None

    def over(self, label):
        """Nobody needs this namespace any more: it goes while others are at work."""
        ns = self.part_namespace(label)
        if ns:
            self.run("kubectl", "delete", "namespace", "--ignore-not-found", "--wait=false", ns.name)

    def release(self, name):
        """One of Helm that is for the whole cluster, and is uninstalled in the end."""
        self._releases.append(name)

    def image_values(self):
        """What a chart is given of the image."""
        name, _, digest = self.image.partition("@")
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
        return {"repository": repository} | ({"tag": tag} if tag else {}) | ({"digest": digest} if digest else {})

    def run(self, *command, stdin=None, seconds=COMMAND_SECONDS, cleaning=False, environment=None):
        """Standard output; an error with all that was said where the command fails, or takes longer."""
        command = [str(part) for part in command]
        done = None
        with self.process(command, cleaning=cleaning, environment=environment) as process:
            try:
                done = process.communicate(stdin, timeout=seconds)
            except subprocess.TimeoutExpired:
                end(process)
                said = "".join(process.communicate())[-2000:]
                raise CommandFailed(f"{shown(command)} is not done after {seconds} s: {said}") from None
        if self.stopped and not cleaning:
            raise Stopped
        if process.returncode:
            raise CommandFailed(f"{shown(command)} ends with {process.returncode}: {''.join(done).strip()[-2000:]}")
        return done[0]

    @contextlib.contextmanager
    def process(self, command, cleaning=False, environment=None, **options):
        """One that is ended with the run; text goes in and comes out by pipes."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        with self._lock:
            if self.stopped and not cleaning:
                raise Stopped
            # In a session of its own: a ctrl-c of the terminal ends it through us, and with all that it has started.
            process = subprocess.Popen(command, env=environment or self.environment, start_new_session=True, **pipes)
            self._running.add(process)
        try:
            yield process
        finally:
            self._running.discard(process)
            if process.poll() is None:
                end(process)
            process.wait()


class Namespace:
    """Commands in one namespace."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name

    def kubectl(self, *arguments, **options):
        return self.cluster.run("kubectl", f"--namespace={self.name}", *arguments, **options)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def apply(self, *objects):
        self.kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def vestibule(self, *arguments, secret):
        return self.cluster.run("kubectl", "vestibule", *arguments, "--namespace", self.name, "--secret", secret).strip()

    def install(self, release, values):
        """The chart vestibule, with the image that is tested."""
        given = json.dumps({"image": self.cluster.image_values(), **values})
        chart = ROOT / "charts/vestibule"
        self.cluster.run("helm", "install", release, chart, "--namespace", self.name, "--values=-", stdin=given)

    def rolled_out(self, deployment, seconds=COMMAND_SECONDS - 20):
        self.kubectl("rollout", "status", f"--timeout={seconds}s", f"deployment/{deployment}")

    def pods(self, selector):
        """Those that are not being deleted."""
        found = self.get("pods", f"--selector={selector}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def only_pod(self, selector):
        """Once those before it are gone."""
        return eventually(lambda: (found := self.get("pods", f"--selector={selector}")["items"]) and len(found) == 1 and found[0])

    def secret(self, name):
        return self.get("secret", name)

    def diagnosis(self):
        """What somebody would look at first where something failed."""
        commands = [
            ["get", "pods", "--output=wide"],
            ["get", "events", "--sort-by=.lastTimestamp", f"--output={COLUMNS}"],
            ["logs", "--selector=!never", "--all-containers", "--tail=12", "--prefix", "--ignore-errors", "--max-log-requests=50"],
        ]
        said = []
        for command in commands:
            try:
                lines = self.kubectl(*command, seconds=30, cleaning=True).splitlines()
            except CommandFailed as error:
                lines = [str(error)]
            said += [f"--- kubectl {' '.join(command)}", *(line[:300] for line in lines[-40:])]
        return "\n".join(said)


def object_of(version, kind, metadata, **fields):
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def eventually(probe, seconds=60, pause=1):
    """What `probe` returns, as soon as it counts as true, or when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(pause)


def end(process):
    """And whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def shown(command):
    return shlex.join(command)[:200]
