"""Runs the parts at the same time, each in a namespace of its own, then what needs the cluster for itself; and cleans up."""

import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path

import images
from cluster import Cluster, CommandFailed, Stopped
from injection import injection
from install import install
from report import Failure, Part, Report
from stores import mounted, scheduled, watched
from trouble import memory, outage, waiting

PARTS = {part.__name__: part for part in (install, injection, mounted, scheduled, watched, waiting, memory, outage)}
LOAD = "VESTIBULE_CLUSTER_LOAD"


def main(wanted):
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        sys.exit(f"tests/cluster: no part is called {unknown[0]}: there are {', '.join(PARTS)}")
    # As a ctrl-c, which a shell may have switched off for what it runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    report = Report()
    with tempfile.TemporaryDirectory(prefix="vestibule-cluster-") as folder:
        folder = Path(folder)
        image = os.environ["VESTIBULE_IMAGE"]
        programs_on_path(folder / "bin")
        if LOAD in os.environ:
            images.load(os.environ[LOAD], image, os.environ["VESTIBULE_STATIC"], folder)
            Part(report, "all").step(f"{image} and stand-ins for {images.WHOAMI} and {images.CURL} are made and loaded")
        try:
            with Cluster(folder, image) as cluster:
                run_all(cluster, report, wanted or list(PARTS))
        except KeyboardInterrupt:
            Part(report, "all").failed("stopped before the end")
        except CommandFailed as error:
            Part(report, "all").failed(f"{error}")
    sys.exit(not report.summary())


def programs_on_path(folder):
    """By the names that the documents call them."""
    folder.mkdir()
    for name, variable in (("helm", "VESTIBULE_HELM"), ("kubectl-vestibule", "VESTIBULE_BIN"), ("kubectl", "VESTIBULE_KUBECTL")):
        if os.environ.get(variable):
            (folder / name).symlink_to(Path(os.environ[variable]).resolve())
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def run_all(cluster, report, wanted):
    last = []
    threads = [threading.Thread(target=run, args=(cluster, Part(report, name), PARTS[name], last), daemon=True) for name in wanted]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
        for part, action in last:
            run(cluster, part, lambda *_: action(), [])
    except KeyboardInterrupt:
        cluster.stop()
        for thread in threads:
            thread.join(30)
        raise


def run(cluster, part, action, last):
    """One part. What it returns is done when all are over."""
    try:
        rest = action(cluster, part)
        if rest:
            last.append((part, rest))
        else:
            cluster.over(part.name)
    except Stopped:
        pass
    except Exception as error:
        if cluster.stopped:
            return
        said = f"{error}" if isinstance(error, Failure | CommandFailed) else traceback.format_exc()
        part.failed(said)
        ns = cluster.part_namespace(part.name)
        print(f"---- {part.name}\n{ns.diagnosis() if ns else ''}\n----", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
