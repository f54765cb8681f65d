"""The login API against docs/openapi.yaml: every documented answer is had, and the real schemathesis goes at it."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import requests
import schemathesis
import yaml

from sidecar import PASSWORD, ROOT, USER, Application, Sidecar, check, hashed

DOCUMENT = ROOT / "docs/openapi.yaml"
PLACES = {"/authorize": ("userName", "pwd"), "/v1/users/authorize": ("username", "password")}
REFRESH, KEYS = "/v1/users/refresh_jwt", "/.well-known/jwks.json"
QUICK = {"first": "1ms", "factor": 1, "max": "1ms", "forgetAfter": "1ms"}
"""Waits that are over before the next request comes, so that guesses are judged and not put off."""
EXAMPLES, SEED = 150, 20261122


class Api:
    """Sends requests and holds each answer against the document, headers and body."""

    def __init__(self, proxy):
        self.url, self.ca = proxy.url, str(proxy.ca)
        self.operations = schemathesis.openapi.from_path(DOCUMENT)
        self.had = set()

    def __call__(self, what, status, path, document=None, method="POST", body=None, headers=None, missing=0):
        """`missing`: bytes of the body that are announced and do not come."""
        body = json.dumps(document) if document is not None else body
        request = requests.Request(method, self.url + path, data=body, headers=headers).prepare()
        if missing:
            request.headers["Content-Length"] = str(len(body) + missing)
        with requests.Session() as session:
            answer = session.send(request, verify=self.ca, timeout=20)
        check(answer.status_code == status, f"{method} {path}, {what}: {status}", (answer.status_code, answer.text))
        self.operations[path][method].validate_response(answer)
        self.had.add((path, status))
        return answer


def basic(password=PASSWORD):
    return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()}


def documented_answers(proxy):
    api = Api(proxy)
    for path, (name, password) in PLACES.items():
        good = {name: USER, password: PASSWORD}
        api("in the body", 200, path, good)
        api("as Basic", 200, path, headers=basic())
        api("as both", 200, path, {**good, "ttl": 60}, headers=basic())
        api("as both, different", 400, path, {**good, password: "other"}, headers=basic())
        api("nothing", 400, path)
        api("no ttl", 400, path, {**good, "ttl": 86_401})
        api("wrong password", 401, path, {**good, password: "wrong"})
        api("unknown user", 401, path, {**good, name: "nobody"})
        expired = api("expired password", 401, path, {**good, name: "late"}).json()
        check("expired" in expired["message"], f"{path}: says that it has expired", expired)
        api("too large", 413, path, body=b" " * 4_097)
    token = api("for the refresh", 200, "/v1/users/authorize", headers=basic()).json()["access_token"]
    for scheme in ("Bearer", "JWT"):
        api(f"{scheme} token", 200, REFRESH, headers={"Authorization": f"{scheme} {token}"})
    api("no token", 401, REFRESH)
    api("bad ttl", 400, REFRESH, {"ttl": 0}, headers={"Authorization": f"Bearer {token}"})
    api("too large", 413, REFRESH, body=b" " * 4_097)
    keys = api("to anyone", 200, KEYS, method="GET").json()["keys"]
    check([key["alg"] for key in keys] == ["ES256"], f"{KEYS}: the key", keys)
    return api.had, token


def throttled_answers(proxy):
    """With the usual waits: 429 in both dialects."""
    api = Api(proxy)
    for path, (name, password) in PLACES.items():
        api("wrong password", 401, path, {name: path, password: "wrong"})
        api("a guess too soon", 429, path, {name: path, password: "wrong"})
    return api.had


def keyless_answers(proxy):
    """Without a key that can sign: 503."""
    api = Api(proxy)
    for path, (name, password) in PLACES.items():
        api("no key", 503, path, {name: USER, password: PASSWORD})
    return api.had


def late_answers(proxy):
    """With a body that does not come: 408."""
    api = Api(proxy)

    for path in (*PLACES, REFRESH):
        api("a body that does not come", 408, path, body=b"{", missing=1)
    return api.had


def fuzz(proxy, token):
    """Everything that the document allows, and everything that it does not."""
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", DOCUMENT,
        "--url", proxy.url, "--tls-verify", proxy.ca, "--header", f"Authorization: Bearer {token}",
        "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--checks", "all",
        # A random name with a random password is good data, and is refused: 401.
        "--exclude-checks", "positive_data_acceptance",
        "--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=proxy.directory, capture_output=True, text=True, timeout=400)
    print(done.stdout)
    check(done.returncode == 0, "schemathesis finds nothing", done.stderr)


def main():
    late = {"groups": [], "passwords": [{"hash": hashed(PASSWORD), "expiresAt": "2020-01-01T00:00:00Z"}]}
    with Application() as application:
        settings = {"throttle": QUICK, "tokens": {"algorithm": "ES256"}}
        with Sidecar(application.url, settings, {"late": late}) as proxy:
            had, token = documented_answers(proxy)
            fuzz(proxy, token)
        with Sidecar(application.url) as proxy:
            had |= throttled_answers(proxy)
        with Sidecar(application.url, {"limits": {"headerTimeout": "200ms"}}) as proxy:
            had |= late_answers(proxy)
        with Sidecar(application.url, keys="broken") as proxy:
            had |= keyless_answers(proxy)
    paths = yaml.safe_load(DOCUMENT.read_text())["paths"].items()
    documented = {(path, int(status)) for path, item in paths for each in item.values() for status in each["responses"]}
    # Where no key can sign, there is mostly none that a token to refresh could be verified with.
    unseen = documented - had - {(REFRESH, 503)}
    check(not unseen, "every answer that is documented was had", unseen)


if __name__ == "__main__":
    main()
