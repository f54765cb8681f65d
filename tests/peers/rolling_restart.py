"""Restarts three sidecars behind the real HAProxy, one after another, under load of wrk and h2load: nothing fails."""

import base64
import collections
import contextlib
import hashlib
import json
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.request
from concurrent import futures

import grpc
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sidecar import Application, Handler, Sidecar, check, skip_without, write

REPLICAS, ROUNDS = 3, 2
TIMES = {"delay": "1s", "grace": "4s"}
STREAM_SECONDS = 2.5
"""Of downloads, uploads and event streams: they fit into `grace`."""
BLOCK = b"x" * 65_536
BLOCKS = 25
EXIT_SECONDS = 15


class Counts(collections.Counter):
    """What the clients count, from several threads."""

    def __init__(self):
        super().__init__()
        self.lock, self.failures = threading.Lock(), []

    def add(self, what, number=1):
        with self.lock:
            self[what] += number

    def fail(self, what, found):
        with self.lock:
            self["failures"] += 1
            self.failures.append(f"{what}: {found}")


class Replica(Sidecar):
    """A sidecar that can be started again on its ports, with the certificate and the store of the first one."""

    def __init__(self, upstream, first=None, settings=None):
        settings = {"shutdown": TIMES, **(settings or {})}
        if first:
            at = first.directory
            settings["tls"] = {"certificate": f"{at}/tls.crt", "key": f"{at}/tls.key"}
            settings["store"] = {"directory": {"users": f"{at}/users", "keys": f"{at}/keys"}}
        super().__init__(upstream, settings)
        if first:
            self.ca = first.ca

    def terminate(self):
        self._process.send_signal(signal.SIGTERM)

    def ended(self):
        """The exit code."""
        return self._process.wait(EXIT_SECONDS)

    def restart(self):
        """Ends the process in order and starts another; the exit code, and the seconds until it came."""
        started = time.monotonic()
        self.terminate()
        code, took = self.ended(), time.monotonic() - started
        self.start_again()
        return code, took

    def start_again(self):
        file = self.directory / "config.yaml"
        config = json.loads(file.read_text())
        write(file, json.dumps({**config, "listen": f"127.0.0.1:{self.port}", "admin": self.admin_address}))
        # The end of its predecessor's log would pass for its own beginning.
        self._reader.join(EXIT_SECONDS)
        self._listening.clear()
        self._start()


class Streams(Handler):
    """Answers that take their time, and WebSocket."""

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/download":
            return self.trickle(BLOCK, BLOCKS)
        if path == "/sse":
            return self.trickle(b"data: tick\n\n", 25)
        if path == "/socket":
            return self.socket()
        if path == "/slow":
            time.sleep(0.2)
        super().do_GET()

    do_POST = do_GET

    def trickle(self, block, count):
        self.send_response(200)
        self.send_header("Content-Length", str(len(block) * count))
        self.end_headers()
        for _ in range(count):
            self.wfile.write(block)
            time.sleep(STREAM_SECONDS / count)

    def socket(self):
        """Echoes short messages (RFC 6455, section 5.2) and notes the close code that comes."""
        self.close_connection = True
        accept = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(accept.encode()).digest()).decode())
        self.end_headers()
        while len(head := self.rfile.read(6)) == 6:
            payload = bytes(byte ^ head[2 + place % 4] for place, byte in enumerate(self.rfile.read(head[1] & 0x7F)))
            self.wfile.write(bytes([head[0], len(payload)]) + payload)
            if head[0] & 0xF == 8:
                code = struct.unpack("!H", payload[:2])[0]
                return self.server.counts.add(f"application's WebSockets closed with {code}")


class HAProxy:
    """Never tries a request twice, so that every failure shows."""

    def __init__(self, directory, replicas):
        self.http1, self.http2 = free_port(), free_port()
        self.stats = directory / "haproxy.sock"
        self.config = directory / "haproxy.cfg"
        self.config.write_text(self.text(replicas))

    def text(self, replicas):
        def servers(alpn):
            return "\n".join(
                f"  server s{number} 127.0.0.1:{it.port} ssl verify required ca-file {it.ca} sni str(localhost) "
                f"verifyhost localhost alpn {alpn} check addr 127.0.0.1 port {it.admin_address.rpartition(':')[2]} "
                "no-check-ssl check-proto h1 inter 200ms fall 1 rise 1"
                for number, it in enumerate(replicas)
            )

        backend = "  balance roundrobin\n  option httpchk\n  http-check send meth GET uri /readyz\n"
        return f"""
global
  stats socket {self.stats} mode 600 level admin
defaults
  mode http
  retries 0
  no option redispatch
  retry-on none
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 60s
frontend http1
  bind 127.0.0.1:{self.http1}
  default_backend http1
frontend http2
  bind 127.0.0.1:{self.http2} proto h2
  default_backend http2
backend http1
{backend}{servers("http/1.1")}
backend http2
{backend}{servers("h2")}
"""

    def __enter__(self):
        command = ["haproxy", "-W", "-db", "-f", self.config]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not answers(self.http1):
            check(time.monotonic() < deadline and self._process.poll() is None, "HAProxy starts", quiet=True)
            time.sleep(0.05)
        return self

    def __exit__(self, *error):
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def counters(self):
        """Sums over all servers: failed connections, failed answers, repetitions, answers of 5xx."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.stats))
            connection.sendall(b"show stat\n")
            lines = b"".join(iter(lambda: connection.recv(65_536), b"")).decode().lstrip("# ").splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","))) for line in lines[1:] if line]
        servers = [row for row in rows if row["svname"].startswith("s") and row["svname"][1:].isdigit()]
        return {name: sum(int(row[name] or 0) for row in servers) for name in ("econ", "eresp", "wretr", "hrsp_5xx")}


class Wrk:
    """Keep-alive connections that ask without a pause, until they are told to stop."""

    def __init__(self, url, token, connections):
        command = ["wrk", "-t1", f"-c{connections}", "-d600", "--timeout", "10s"]
        command += ["-H", f"Authorization: Bearer {token}", url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self):
        """Requests, and errors by their kind."""
        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=30)
        requests = re.search(r"(\d+) requests in", said)
        check(requests, "wrk has an end", said, quiet=True)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        found = dict(zip(("connect", "read", "write", "timeout"), map(int, errors.groups()) if errors else [0] * 4))
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        return int(requests[1]), {**found, "status": int(bad[1]) if bad else 0}


class Clients:
    """Threads that repeat what they do until they are told to stop."""

    def __init__(self, counts):
        self.counts, self.over, self.threads = counts, threading.Event(), []

    def repeat(self, what, act, threads=1):
        def run():
            while not self.over.is_set():
                try:
                    act()
                except Exception as error:  # Whatever it is, it is a failure.
                    self.counts.fail(what, repr(error))

        self.threads += [threading.Thread(target=run, name=what, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *error):
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        stuck = [thread.name for thread in self.threads if thread.is_alive()]
        check(error[0] or not stuck, "every client has come to its end", stuck, quiet=True)


def rolling(counts, application):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Replica(application.url))
        replicas = [first]
        replicas += [stack.enter_context(Replica(application.url, first)) for _ in range(REPLICAS - 1)]
        token = first.token()
        for replica in replicas:
            until_it_knows(replica, token)
        proxy = stack.enter_context(HAProxy(first.directory, replicas))
        url, bearer = f"http://127.0.0.1:{proxy.http1}", {"Authorization": f"Bearer {token}"}
        clients = clients_of(counts, url, proxy, bearer, token)
        wrk = Wrk(f"{url}/fast", token, 8)
        with clients:
            time.sleep(2)
            for number in range(ROUNDS * REPLICAS):
                code, took = replicas[number % REPLICAS].restart()
                counts.add("restarts")
                check(code == 0, f"restart {number + 1}: exit code 0 after {took:.1f} s", code)
                # HAProxy knows of it at its next look.
                time.sleep(0.6)
            requests, errors = wrk.stop()
            counts.add("requests by wrk", requests)
        counters = proxy.counters()
        check(requests > 500 and not any(errors.values()), f"wrk: {requests} requests, no errors", errors)
        check(not counts["failures"], "no other client has seen a failure", counts.failures[:5])
        check(counters["hrsp_5xx"] == counters["wretr"] == counters["econ"] == 0, "nor has HAProxy", counters)
        for what in ("requests by h2load", "downloads", "uploads", "event streams", "slow answers"):
            check(counts[what], f"there were {what}", counts)
        cut, told = counts["WebSockets closed with 1001"], counts["application's WebSockets closed with 1001"]
        check(cut >= REPLICAS and told >= cut, "WebSockets were closed with 1001 at both ends", (cut, told))


def clients_of(counts, url, proxy, bearer, token):
    def get(what, path, length=None, body=None):
        request = urllib.request.Request(url + path, data=body, headers=bearer)
        with urllib.request.urlopen(request, timeout=20) as answer:
            content = answer.read()
            if answer.status != 200 or length is not None and len(content) != length:
                raise RuntimeError(f"{answer.status}, {len(content)} bytes")
        counts.add(what)

    def upload():
        def trickle():
            for _ in range(BLOCKS):
                yield BLOCK
                time.sleep(STREAM_SECONDS / BLOCKS)

        get("uploads", "/upload", body=trickle())

    def web_socket():
        with connect(url.replace("http", "ws") + "/socket", additional_headers=bearer, open_timeout=10) as connection:
            try:
                while not clients.over.is_set():
                    connection.send("hello")
                    if connection.recv(10) != "hello":
                        raise RuntimeError("no echo")
                    time.sleep(0.05)
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
                if code != 1001:
                    raise
                counts.add("WebSockets closed with 1001")

    def h2load():
        command = ["h2load", "-n1000", "-c4", "-m8", "-T20s", "-H", f"authorization: Bearer {token}"]
        command.append(f"http://127.0.0.1:{proxy.http2}/fast")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if not re.search(r"1000 succeeded, 0 failed, 0 errored.*\nstatus codes: 1000 2xx", done.stdout):
            raise RuntimeError(done.stdout[-600:])
        counts.add("requests by h2load", 1000)

    clients = Clients(counts)
    clients.repeat("download", lambda: get("downloads", "/download", len(BLOCK) * BLOCKS), threads=4)
    clients.repeat("upload", upload, threads=2)
    clients.repeat("events", lambda: get("event streams", "/sse", 12 * 25), threads=2)
    clients.repeat("slow", lambda: get("slow answers", "/slow"), threads=4)
    clients.repeat("web socket", web_socket, threads=REPLICAS)
    clients.repeat("h2load", h2load)
    return clients


def without_a_balancer(counts, application):
    """Clients that speak to the process that ends: every request that is sent is answered."""
    with Replica(application.url) as replica:
        token = replica.token()
        wrk = Wrk(f"{replica.url}/fast", token, 16)
        time.sleep(2)
        replica.terminate()
        check(replica.ended() == 0, "exit code 0 with busy clients and nothing to cut")
        requests, errors = wrk.stop()
        counts.add("requests by wrk, straight", requests)
        # There is nobody to connect to any more.
        errors.pop("connect")
        check(requests > 100 and not any(errors.values()), f"wrk, straight: {requests} requests, none lost", errors)
        replica.start_again()


def grpc_streams(counts):
    """Streams that fit into `grace` end by themselves; others are reset, and the connection is not just gone."""

    def tick(request, context):
        for _ in range(int(request)):
            yield b"tick"
            time.sleep(0.1)

    methods = {"Tick": grpc.unary_stream_rpc_method_handler(tick)}
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Ticker", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Replica(f"h2c://127.0.0.1:{port}") as replica:
        metadata = [("authorization", f"Bearer {replica.token()}")]
        for _ in range(ROUNDS):
            credentials = grpc.ssl_channel_credentials(replica.ca.read_bytes())
            with grpc.secure_channel(f"localhost:{replica.port}", credentials) as channel:
                call = channel.unary_stream("/test.Ticker/Tick")
                short = [call(b"25", metadata=metadata, timeout=30) for _ in range(4)]
                long = [call(b"200", metadata=metadata, timeout=30) for _ in range(4)]
                for stream in short + long:
                    next(stream)
                replica.terminate()
                ended = [len(list(stream)) for stream in short]
                check(ended == [24] * 4, "gRPC streams that fit into the grace end by themselves", ended)
                counts.add("gRPC streams completed", len(short))
                for stream in long:
                    error = failure(stream)
                    check("RST_STREAM" in error.details(), "one that does not is reset", (error.code(), error.details()))
                    counts.add("gRPC streams reset")
            check(replica.ended() == 0, "exit code 0 though the grace had to cut")
            counts.add("restarts")
            replica.start_again()
    server.stop(None)


def failure(stream):
    try:
        for _ in stream:
            pass
    except grpc.RpcError as error:
        return error
    raise SystemExit("FAILED: the stream ended by itself")


def until_it_knows(replica, token):
    """The replica that made the key ring knows it first."""
    deadline = time.monotonic() + 10
    while replica.request("GET", "/fast", headers={"Authorization": f"Bearer {token}"})[0] != 200:
        check(time.monotonic() < deadline, "all replicas take one another's tokens", quiet=True)
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def main():
    skip_without("haproxy", "wrk", "h2load")
    counts = Counts()
    with Application(Streams) as application:
        application.counts = counts
        rolling(counts, application)
        without_a_balancer(counts, application)
    grpc_streams(counts)
    print("\n".join(f"{what}: {number}" for what, number in sorted({"failures": 0, **counts}.items())))


if __name__ == "__main__":
    main()
