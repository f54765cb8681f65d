"""A pod that asks Services as any other would, by curl."""

import json
import re
import threading
import time
from dataclasses import dataclass

from cluster import HERE, CommandFailed

ANSWER_SECONDS = 20
LOST, TRIES = 97, 4
BATCHES = 400
"""The most that one stream of requests can be, should nobody end it."""
LINE = re.compile(r"(\d{3}) (\d+)")


@dataclass
class Answer:
    """`status` is 0 where there was none; then `body` says why."""

    status: int
    body: str

    def __str__(self):
        return f"{self.status} {self.body[:300]}"


class Client:
    """In the namespace `ns`; `host` is what it calls the server by, with a port where it is not that of HTTPS."""

    def __init__(self, ns, host=None, name="client"):
        self.ns, self.host, self._name = ns, host, name
        self._lines = []
        ns.kubectl("apply", f"--filename={HERE}/client.yaml")
        ns.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=120s")

    def trust(self, certificate):
        """From now on the server's certificate has to be vouched for by this one (PEM)."""
        self.shell("cat >/tmp/ca.crt", stdin=certificate)
        self._lines = [setting("cacert", "/tmp/ca.crt")]

    def shell(self, script, stdin=""):
        """What `script` prints. Its input is counted: on a busy node some of it may not arrive."""
        counted = f"""
            in=/tmp/in.$$; cat >$in; [ "$(wc -c <$in)" -eq {len(stdin.encode())} ] || {{ rm $in; exit {LOST}; }}
            ({script}) <$in; code=$?; rm $in; exit $code"""
        for attempt in range(TRIES):
            try:
                return self.ns.kubectl("exec", "--stdin", self._name, "--", "sh", "-c", counted, stdin=stdin)
            except CommandFailed as error:
                if f"exit code {LOST}" not in str(error) or attempt == TRIES - 1:
                    raise

    def ask(self, path="/", token=None, url=None, user=None, method="GET"):
        """One request, on a connection of its own. `user` is NAME:PASSWORD. Credentials are in no argument."""
        lines = [*self._lines, setting("url", url or f"https://{self.host}{path}"), setting("request", method)]
        if token:
            lines.append(setting("header", f"Authorization: Bearer {token}"))
        if user:
            lines.append(setting("user", user))
        command = f"curl --silent --show-error --max-time {ANSWER_SECONDS} --write-out '\\n%{{http_code}}' --config -"
        try:
            body, _, status = self.shell(command, stdin="\n".join(lines)).rpartition("\n")
        except CommandFailed as error:
            return Answer(0, str(error).rpartition("curl:")[2].strip())
        return Answer(int(status), body)

    def login(self, user, password):
        """A token, or an error."""
        answer = self.ask("/authorize", user=f"{user}:{password}", method="POST")
        if answer.status != 200:
            raise CommandFailed(f"{user} cannot log in: {answer}")
        return json.loads(answer.body)["apiToken"]

    def stream(self, token, rate, kept):
        """Requests at `rate` a second while the block runs: on connections that are kept (HTTP/2), or on one for each."""
        return Stream(self, [*self._lines, setting("header", f"Authorization: Bearer {token}")], rate, kept)


class Stream:
    """`answers` holds of each request when its status came (monotonic seconds), the status, and what curl ended with."""

    def __init__(self, client, lines, rate, kept):
        self._client = client
        self._name = f"/tmp/stream-{id(self):x}"
        lines.append(setting("url", f"https://{client.host}/stream?[1-{2 * rate}]"))
        how = ["--http2"] if kept else ["--http1.1", "--header 'Connection: close'"]
        self._config = "\n".join(lines)
        # To standard error, which nobody holds back until there is more.
        self._script = f"""
            : >{self._name}.on; n=0
            while [ -e {self._name}.on ] && [ $n -lt {BATCHES} ]; do
              n=$((n + 1))
              curl --silent --show-error --max-time 10 {" ".join(how)} --rate {rate}/s --output /dev/null \\
                --write-out '%{{stderr}}%{{http_code}} %{{exitcode}}\\n' --config {self._name} 2>&1
            done
            rm -f {self._name}"""
        self.answers, self.noise = [], []

    def __enter__(self):
        self._client.shell(f"cat >{self._name}", stdin=self._config)
        pod = (f"--namespace={self._client.ns.name}", self._client._name)
        command = ["kubectl", "exec", *pod, "--", "sh", "-c", self._script]
        self._context = self._client.ns.cluster.process(command)
        self._process = self._context.__enter__()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *error):
        try:
            self._client.shell(f"rm -f {self._name}.on")
            self._reader.join(30)
        finally:
            self._context.__exit__(*error)

    def wait_for(self, count, seconds=30):
        """Until so many answers have come."""
        deadline = time.monotonic() + seconds
        while len(self.answers) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return len(self.answers) >= count

    def failed(self):
        """Statuses other than 200 and errors of curl's, and the first words that curl had for them."""
        bad = [(status, code) for _, status, code in self.answers if (status, code) != (200, 0)]
        return bad and (bad, self.noise[:5])

    def _read(self):
        for line in self._process.stdout:
            found = LINE.fullmatch(line.strip())
            if found:
                self.answers.append((time.monotonic(), int(found[1]), int(found[2])))
            elif line.strip():
                self.noise.append(line.strip())


def setting(name, value):
    """A line of curl's configuration."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name} = "{escaped}"'
