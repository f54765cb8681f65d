"""Where something was measured, for a result's head."""

import datetime
import os
import platform
from pathlib import Path


def machine(cpus: int | None = None) -> dict:
    """Date, processors and system; `cpus`: how many of the processors count, by default all that this process may use."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": model or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if cpus is None else cpus,
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
    }
