"""Named checks, a line for each as it is made, and the counts at the end."""

import threading
import time


class Failure(Exception):
    """A check that did not hold. What comes after it in the same part is not looked at."""


class Report:
    """Of all parts, which run at the same time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._counts = {"ok": 0, "FAILED": 0, "skipped": 0}
        self._kept = []

    def line(self, part, kind, text):
        with self._lock:
            if kind in self._counts:
                self._counts[kind] += 1
            if kind in ("FAILED", "skipped", "figure"):
                self._kept.append(f"{kind:8} {part}: {text}")
            print(f"[{time.monotonic() - self._begun:5.1f} s] {part:9} {kind:8} {text}", flush=True)

    def summary(self):
        """Whether all checks held."""
        print("\n" + "\n".join(self._kept))
        passed, failed, skipped = self._counts.values()
        print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
        return passed > 0 and failed == 0


class Part:
    """What one part of the test says."""

    def __init__(self, report, name):
        self._report, self.name = report, name

    def check(self, holds, what, detail=""):
        """`what` is what holds; `detail` is shown where it does not."""
        if not holds:
            raise Failure(f"{what}: {detail}" if detail != "" else what)
        self._report.line(self.name, "ok", what)

    def step(self, text):
        self._report.line(self.name, "", text)

    def skip(self, what, why):
        """For what cannot be seen here, which is said aloud and counted."""
        self._report.line(self.name, "skipped", f"{what}: {why}")

    def figure(self, text):
        """Something measured: printed, and again at the end."""
        self._report.line(self.name, "figure", text)

    def failed(self, text):
        self._report.line(self.name, "FAILED", text)
