"""gRPC through `h2c://` with the real grpcio at both ends: every kind of call, status trailers, deadlines, refusals."""

import threading
import time
from concurrent import futures

import grpc

from sidecar import PASSWORD, Sidecar, check, hashed

SERVICE = "test.Echo"
SECONDS = 20
"""Deadline of each call, so that nothing hangs."""


class Service:
    """Methods over plain bytes, so that no protocol compiler is needed."""

    def __init__(self):
        self.cancelled = threading.Event()
        kinds = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }
        self.handler = grpc.method_handlers_generic_handler(SERVICE, kinds)

    def unary(self, request, context):
        return request

    def metadata(self, request, context):
        received = dict(context.invocation_metadata())
        context.send_initial_metadata([("x-initial", "first")])
        context.set_trailing_metadata([("x-last", "last"), ("x-blob-bin", bytes(range(256)))])
        shown = [name for name in sorted(received) if name.startswith(("x-forwarded", "x-mine", "authorization"))]
        return "\n".join(f"{name}={received[name]}" for name in shown).encode()

    def fail(self, request, context):
        context.set_trailing_metadata([("x-why", "because")])
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100% ümlaut")

    def slow(self, request, context):
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(SECONDS)
        return b"late"

    def count(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def fail_late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "after one")

    def join(self, requests, context):
        return b",".join(requests)

    def chat(self, requests, context):
        for request in requests:
            yield b"re: " + request


class Client:
    def __init__(self, proxy, token):
        credentials = grpc.ssl_channel_credentials(proxy.ca.read_bytes())
        options = [("grpc.max_receive_message_length", 16 << 20), ("grpc.enable_retries", 0)]
        self.channel = grpc.secure_channel(f"localhost:{proxy.port}", credentials, options)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []

    def call(self, kind, method, argument, more=(), timeout=SECONDS):
        start = getattr(self.channel, kind)(f"/{SERVICE}/{method}")
        return start(argument, metadata=[*self.metadata, *more], timeout=timeout)

    def failure(self, kind, method, argument, timeout=SECONDS):
        """The error that a call ends with, after however many answers."""
        try:
            answer = self.call(kind, method, argument, timeout=timeout)
            got = list(answer) if kind.endswith("stream") else answer
        except grpc.RpcError as error:
            return error
        raise SystemExit(f"FAILED: {method} succeeded with {got!r}")


def calls_of_every_kind(client):
    big = bytes(range(256)) * 12_288  # 3 MiB: far beyond any window
    check(client.call("unary_unary", "Unary", b"hello") == b"hello", "unary")
    check(client.call("unary_unary", "Unary", b"") == b"", "unary, an empty message")
    check(client.call("unary_unary", "Unary", big) == big, "unary, 3 MiB each way")
    counted = list(client.call("unary_stream", "Count", b"1000"))
    check(counted == [str(number).encode() for number in range(1000)], "server streaming, 1,000 messages", counted[-1:])
    joined = client.call("stream_unary", "Join", iter([b"a", b"b", b"c"]))
    check(joined == b"a,b,c", "client streaming", joined)
    several = [client.channel.unary_unary(f"/{SERVICE}/Unary").future(
        str(number).encode(), metadata=client.metadata, timeout=SECONDS) for number in range(200)]  # fmt: skip
    check([int(call.result()) for call in several] == list(range(200)), "200 calls at once on one connection")


def bidirectional_takes_turns(client):
    """Each message is sent only after the answer to the one before has come: nothing may be held back."""
    said, turn = [], threading.Semaphore(1)

    def speak():
        for number in range(50):
            check(turn.acquire(timeout=SECONDS), "an answer comes before the next message", number, quiet=True)
            yield str(number).encode()

    for answer in client.call("stream_stream", "Chat", speak()):
        said.append(answer)
        turn.release()
    check(said == [f"re: {number}".encode() for number in range(50)], "bidirectional streaming, turn by turn", said[-1:])


def metadata_and_identity(client):
    forged = [("x-forwarded-user", "root"), ("x-forwarded-groups", "root"), ("x-mine", "kept")]
    answer, call = client.channel.unary_unary(f"/{SERVICE}/Metadata").with_call(
        b"", metadata=[*client.metadata, *forged], timeout=SECONDS
    )
    seen = dict(line.split("=", 1) for line in answer.decode().splitlines())
    check(seen.get("x-mine") == "kept", "metadata reach the application", seen)
    check(seen.get("x-forwarded-user") == "apiUser", "the caller's own identity is replaced", seen)
    check(seen.get("x-forwarded-groups") == "Administrator", "so are the groups", seen)
    check("authorization" not in seen, "the token does not reach the application", sorted(seen))
    trailing = dict(call.trailing_metadata())
    check(dict(call.initial_metadata()).get("x-initial") == "first", "initial metadata come back")
    check(trailing.get("x-last") == "last", "trailing metadata come back", trailing)
    check(trailing.get("x-blob-bin") == bytes(range(256)), "binary trailing metadata come back", trailing)


def statuses(client):
    error = client.failure("unary_unary", "Fail", b"")
    check(error.code() == grpc.StatusCode.NOT_FOUND, "a status without an answer", error.code())
    check(error.details() == "no such thing: 100% ümlaut", "its message", error.details())
    check(dict(error.trailing_metadata()).get("x-why") == "because", "its metadata", error.trailing_metadata())
    error = client.failure("unary_stream", "FailLate", b"")
    check(error.code() == grpc.StatusCode.DATA_LOSS, "a status after an answer, in trailers", error.code())
    error = client.failure("unary_unary", "NoSuchMethod", b"")
    check(error.code() == grpc.StatusCode.UNIMPLEMENTED, "the application's UNIMPLEMENTED", error.code())


def deadline_reaches_the_application(client, service):
    started = time.monotonic()
    error = client.failure("unary_unary", "Slow", b"", timeout=0.3)
    check(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, "a deadline", error.code())
    check(service.cancelled.wait(5), "the application hears that the caller has left")
    check(time.monotonic() - started < 5, "soon", time.monotonic() - started)


def refusals(proxy):
    code = Client(proxy, None).failure("unary_unary", "Unary", b"").code()
    check(code == grpc.StatusCode.UNAUTHENTICATED, "no token: UNAUTHENTICATED", code)
    code = Client(proxy, "a.b.c").failure("stream_stream", "Chat", iter([b"x"])).code()
    check(code == grpc.StatusCode.UNAUTHENTICATED, "a token that is none: UNAUTHENTICATED", code)
    code = Client(proxy, proxy.token("reader")).failure("unary_unary", "Unary", b"").code()
    check(code == grpc.StatusCode.PERMISSION_DENIED, "a user in no API group: PERMISSION_DENIED", code)


def main():
    service = Service()
    application = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", 16 << 20)])
    application.add_generic_rpc_handlers([service.handler])
    port = application.add_insecure_port("127.0.0.1:0")
    application.start()
    users = {"reader": {"groups": ["Readers"], "passwords": [{"hash": hashed(PASSWORD)}]}}
    with Sidecar(f"h2c://127.0.0.1:{port}", users=users) as proxy:
        client = Client(proxy, proxy.token())
        calls_of_every_kind(client)
        bidirectional_takes_turns(client)
        metadata_and_identity(client)
        statuses(client)
        deadline_reaches_the_application(client, service)
        refusals(proxy)
        application.stop(None).wait()
        code = client.failure("unary_unary", "Unary", b"").code()
        check(code == grpc.StatusCode.UNAVAILABLE, "no application: UNAVAILABLE", code)
        client.channel.close()


if __name__ == "__main__":
    main()
