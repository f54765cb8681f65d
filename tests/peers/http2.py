"""HTTP/2 and HTTP/1.1 with the real curl and h2load: versions, bodies, refusals, many requests at once."""

import json
import os
import re
import subprocess

from sidecar import Application, Sidecar, USER, check, skip_without

BODY = 5 << 20


def curl(proxy, path, *options, stdin=os.devnull):
    """Status, HTTP version and body of one request by curl, which reads the file `stdin`."""
    command = ["curl", "-s", "--max-time", "20", "--cacert", proxy.ca, "-w", "\n%{http_code} %{http_version}", *options]
    with open(stdin, "rb") as source:
        command.append(proxy.url + path)
        done = subprocess.run(command, stdin=source, capture_output=True, text=True, timeout=30)
    check(done.returncode == 0, f"curl {path}", (done.returncode, done.stderr), quiet=True)
    body, _, facts = done.stdout.rpartition("\n")
    status, version = facts.split()
    return int(status), version, body


def versions(proxy, bearer):
    for option, version in (("--http2", "2"), ("--http1.1", "1.1"), ("--http1.0", "1")):
        # Clients of HTTP/1.0 know no ALPN.
        alpn = ["--no-alpn"] if option == "--http1.0" else []
        status, spoken, body = curl(proxy, "/hello?a=b", option, *alpn, *bearer)
        check((status, spoken) == (200, version), f"{option}: 200", (status, spoken))
        received = json.loads(body)
        check(received["path"] == "/hello?a=b", f"{option}: the path as it was sent", received["path"])
        seen = received["headers"]
        check(seen.get("x-forwarded-user") == USER, f"{option}: the application sees who calls", seen)
        check("authorization" not in seen, f"{option}: and not the token", sorted(seen))


def bodies(proxy, bearer):
    sent = proxy.directory / "body"
    sent.write_bytes(b"x" * BODY)
    for option in ("--http2", "--http1.1"):
        status, _, body = curl(proxy, "/upload", option, *bearer, "--data-binary", f"@{sent}")
        check((status, json.loads(body)["bytes"]) == (200, BODY), f"{option}: 5 MiB with a length", (status, body))
        # From a pipe, so that no length is known: chunks in HTTP/1.1.
        status, _, body = curl(proxy, "/upload", option, *bearer, "-T", "-", "-H", "Expect: 100-continue", stdin=sent)
        check((status, json.loads(body)["bytes"]) == (200, BODY), f"{option}: 5 MiB without one", (status, body))


def refusals(proxy):
    for option in ("--http2", "--http1.1"):
        status, _, body = curl(proxy, "/hello", option)
        check(status == 401, f"{option}, no token: 401", status)
        check(json.loads(body) == {"message": "Unauthorized", "status": 401}, f"{option}: its body", body)
        status, _, _ = curl(proxy, "/hello", option, "-H", "Authorization: Bearer a.b.c")
        check(status == 401, f"{option}, a token that is none: 401", status)


def load(proxy, token, streams, *options):
    """4,000 requests on 8 connections: every one is answered with 200."""
    command = ["h2load", "-n", "4000", "-c", "8", "-m", str(streams), "-T", "20s", *options]
    command += ["-H", f"authorization: Bearer {token}", f"{proxy.url}/hello"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    print(next((line for line in done.stdout.splitlines() if line.startswith("finished in")), done.stdout))
    good = re.search(r"4000 succeeded, 0 failed.*\nstatus codes: 4000 2xx", done.stdout)
    check(good, f"h2load {' '.join(options) or 'over HTTP/2'}: 4,000 of 4,000", done.stdout + done.stderr)


def main():
    skip_without("curl", "h2load")
    with Application() as application, Sidecar(application.url) as proxy:
        token = proxy.token()
        bearer = ["-H", f"Authorization: Bearer {token}"]
        versions(proxy, bearer)
        bodies(proxy, bearer)
        refusals(proxy)
        load(proxy, token, 32)
        load(proxy, token, 1, "--h1")


if __name__ == "__main__":
    main()
