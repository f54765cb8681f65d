"""Server-sent events read by the real `curl -N`, over HTTP/1.1 and HTTP/2: none is delayed, and a reader may leave."""

import subprocess
import time

from sidecar import Application, Sidecar, check, skip_without

EVENTS = 6
LATE = 0.4
"""Seconds that an event may take; the application sends one every half second, so a held-back one would be later."""


def read_events(proxy, token, version):
    """Seconds that each of the first events took from the application to curl's output."""
    command = ["curl", "-sN", f"--{version}", "--max-time", "20", "--cacert", proxy.ca]
    command += ["-H", f"Authorization: Bearer {token}", f"{proxy.url}/events"]
    delays = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        for line in curl.stdout:
            if line.startswith("data: "):
                delays.append(time.time() - float(line.removeprefix("data: ")))
            if len(delays) == EVENTS:
                break
        curl.kill()
    return delays


def main():
    skip_without("curl")
    with Application() as application, Sidecar(application.url) as proxy:
        token = proxy.token()
        for version in ("http1.1", "http2"):
            delays = read_events(proxy, token, version)
            check(len(delays) == EVENTS, f"{version}: {EVENTS} events arrive", len(delays))
            check(delays[0] < LATE, f"{version}: the first at once", delays[0])
            # A busy machine may be late with one.
            check(sorted(delays)[-2] < LATE, f"{version}: the others as they are sent", delays)
            check(application.gone.acquire(timeout=5), f"{version}: the application hears that the reader has left")
        status, _, _ = proxy.request("GET", "/events")
        check(status == 401, "no token: 401", status)


if __name__ == "__main__":
    main()
