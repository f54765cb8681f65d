"""What the sidecar takes: from the start of its container until it is ready, and memory."""

import json
import os
import re
import time
from datetime import datetime
from pathlib import Path

IDLE_SECONDS = 10


def tell(ns, client, deployment, selector, part):
    """Starts the pod anew, and measures it."""
    ns.kubectl("rollout", "restart", f"deployment/{deployment}")
    ns.rolled_out(deployment)
    pod = ns.only_pod(selector)
    events = [json.loads(line) for line in ns.kubectl("logs", pod["metadata"]["name"], "--container=vestibule").splitlines()]
    times = {event["event"]: moment(event["timestamp"]) for event in events if event["event"] in ("listening", "readiness")}
    process = process_of(pod["metadata"]["uid"])
    if process:
        begun = started(process)
        part.figure(
            f"from the start of the sidecar's process: {1000 * (times['listening'] - begun):.0f} ms until it listens, "
            f"{1000 * (times['readiness'] - begun):.0f} ms until it is ready"
        )
    else:
        part.skip("the time from the start of the process", "the pod runs on another machine")
    first = moment(events[0]["timestamp"])
    part.figure(f"from the sidecar's first line to ready: {1000 * (times['readiness'] - first):.0f} ms")
    changes = {each["type"]: each["lastTransitionTime"] for each in pod["status"]["conditions"]}
    whole = (moment(changes["Ready"]) - moment(pod["metadata"]["creationTimestamp"]))
    part.figure(f"from the pod's creation to Ready: {whole:.0f} s (of whole seconds)")

    time.sleep(IDLE_SECONDS)
    metrics = client.ask(url=f"http://{pod['status']['podIP']}:10444/metrics").body
    resident = float(re.search(r"(?m)^process_resident_memory_bytes (\S+)", metrics)[1])
    part.figure(f"memory in the pod, idle: {resident / 1e6:.1f} MB resident{working_set(ns, pod)}")
    part.check(resident < 30e6, "idle, it takes less than 30 MB", resident)


def working_set(ns, pod):
    """What kubelet counts, where it may be asked."""
    node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    summary = json.loads(ns.cluster.run("kubectl", "get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
    for found in summary["pods"]:
        if found["podRef"]["uid"] == uid:
            for container in found["containers"]:
                if container["name"] == "vestibule" and "workingSetBytes" in container.get("memory", {}):
                    return f", {container['memory']['workingSetBytes'] / 1e6:.1f} MB as kubelet counts it"
    return ""


def moment(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def process_of(uid):
    """The sidecar's process, where this machine is its node and shows it."""
    marks = (uid, uid.replace("-", "_"))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if command[0].endswith(b"/vestibule") and any(mark in (process / "cgroup").read_text() for mark in marks):
                return process
        except OSError:
            continue
    return None


def started(process):
    """Seconds since the epoch, to a hundredth."""
    ticks = int((process / "stat").read_text().rpartition(")")[2].split()[19])
    since_boot = ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot
