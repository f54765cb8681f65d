"""`/metrics` of a sidecar that has seen good and bad, read by Prometheus' own `promtool check metrics`."""

import os
import shutil
import subprocess
import sys

from sidecar import SKIPPED, Application, Sidecar, check

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


def main():
    if not PROMTOOL:
        print("skipped: needs promtool, which Debian's package prometheus holds")
        sys.exit(SKIPPED)
    with Application() as application, Sidecar(application.url) as proxy:
        token = proxy.token()
        proxy.request("POST", "/authorize", {"userName": "apiUser", "pwd": "wrong"})
        proxy.request("GET", "/hello", headers={"Authorization": f"Bearer {token}"})
        proxy.request("GET", "/hello")
        status, text = proxy.admin("/metrics")
        check(status == 200, "/metrics answers", status)
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, timeout=30)
        found = (done.stdout + done.stderr).decode().strip()
        check(done.returncode == 0 and not found, "promtool finds nothing to complain about", found)
        for series in (
            'vestibule_requests_total{code="200",outcome="forwarded"} 1',
            'vestibule_requests_total{code="401",outcome="unauthenticated"} 1',
            'vestibule_authorize_total{dialect="densify",outcome="granted"} 1',
            'vestibule_authorize_total{dialect="densify",outcome="denied"} 1',
        ):
            check(series in text.decode().splitlines(), series, quiet=False)


if __name__ == "__main__":
    main()
