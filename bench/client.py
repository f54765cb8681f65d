"""A small TLS client for what wrk and h2load cannot do: handshakes, idle connections, long bodies, many logins.

Imported for `get`; run as a program, so that its CPU time is not the benchmark's own: prints one JSON line.
"""

import base64
import json
import resource
import socket
import ssl
import sys
import threading
import time

PIECE = 256 << 10


def context(protocol: str = "http/1.1") -> ssl.SSLContext:
    # The certificate is the benchmark's own, of a minute ago: there is nobody to be fooled.
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols([protocol])
    return made


def connect(
    port: int, tls: ssl.SSLContext, session: ssl.SSLSession | None = None, deadline: float = 30
) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=deadline)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(plain, server_hostname="localhost", session=session)


def request(path: str, headers: dict[str, str], method: str = "GET") -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode()


def answer(connection: ssl.SSLSocket, keep: int = 1 << 16) -> tuple[int, bytes, int]:
    """Reads one answer: its status, the first bytes of its body, and how many there were."""
    said = b""
    while b"\r\n\r\n" not in said:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("the connection ended within an answer's head")
        said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    if not lengths:
        # Chunked: small here, and there are no trailers.
        while not body.endswith(b"0\r\n\r\n"):
            piece = connection.recv(65536)
            if not piece:
                break
            body += piece
        return status, body[:keep], len(body)
    length, count, buffer = int(lengths[0]), len(body), bytearray(PIECE)
    while count < length:
        got = connection.recv_into(buffer)
        if not got:
            raise OSError(f"the connection ended after {count} of {length} bytes")
        if count < keep:
            body += buffer[:got]
        count += got
    return status, body[:keep], count


def get(port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """One GET on a new connection: its status and the beginning of the body."""
    with connect(port, context(), deadline=5) as connection:
        connection.sendall(request(path, {**headers, "Connection": "close"}))
        status, body, _ = answer(connection)
        return status, body.decode(errors="replace").strip()


def handshakes(port: int, headers: dict[str, str], seconds: float, resumed: bool) -> dict:
    """New connections one after the other, each with one request; resumed ones present the last ticket."""
    tls, session, count, again = context(), None, 0, 0
    asked = request("/1k", {**headers, "Connection": "close"})
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with connect(port, tls, session) as connection:
            connection.sendall(asked)
            status, _, _ = answer(connection)
            if status != 200:
                return {"failed": f"status {status}"}
            count += 1
            again += connection.session_reused
            if resumed:
                # TLS 1.3 sends tickets after the handshake: read by now.
                session = connection.session
    if again != (count - 1 if resumed else 0):
        return {"failed": f"{again} of {count} connections were resumed"}
    return {"count": count}


def request_http2(path: str, headers: dict[str, str]) -> bytes:
    """All that a client says for its first request of HTTP/2 (RFC 9113): preface, settings, one frame of headers."""

    def text(value: str) -> bytes:
        # As it is, not packed (RFC 7541, section 5.2): the length in seven bits, and more where they do not suffice.
        raw, length = value.encode(), len(value.encode())
        if length < 127:
            return bytes([length]) + raw
        more, length = [127], length - 127
        while length >= 128:
            more.append(length % 128 + 128)
            length //= 128
        return bytes([*more, length]) + raw

    fields = {":method": "GET", ":scheme": "https", ":path": path, ":authority": "localhost"}
    fields |= {name.lower(): value for name, value in headers.items()}
    # Never put into the table of fields (RFC 7541, section 6.2.2).
    block = b"".join(b"\0" + text(name) + text(value) for name, value in fields.items())
    # END_HEADERS and END_STREAM.
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 5, 1, block)


def answer_http2(connection: ssl.SSLSocket) -> int:
    """Reads the answer to the first request, to its end, and agrees to the server's settings: its status."""
    said, status = b"", 0
    while True:
        while len(said) < 9 or len(said) < 9 + int.from_bytes(said[:3]):
            piece = connection.recv(65536)
            if not piece:
                raise OSError("the connection ended within an answer")
            said += piece
        size, kind, flags, stream = int.from_bytes(said[:3]), said[3], said[4], int.from_bytes(said[5:9])
        payload, said = said[9 : 9 + size], said[9 + size :]
        if kind == 4 and not flags & 1:
            connection.sendall(_frame(4, 1, 0, b""))
        if kind == 1 and stream == 1:
            # ":status: 200" is one byte, as it stands in the table that everyone knows (RFC 7541, appendix A).
            status = 200 if payload[:1] == b"\x88" else 1
        if stream == 1 and kind in (0, 1) and flags & 1:
            return status
        if kind in (3, 7):
            raise OSError("the request was refused")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def idle(port: int, headers: dict[str, str], count: int, http2: bool = False) -> None:
    """Opens connections, has one request answered on each, says so, and holds them until standard input ends."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    tls, held = context("h2" if http2 else "http/1.1"), []
    asked = request_http2("/1k", headers) if http2 else request("/1k", headers)
    for _ in range(count):
        connection = connect(port, tls)
        connection.sendall(asked)
        status = answer_http2(connection) if http2 else answer(connection)[0]
        if status != 200:
            print(json.dumps({"failed": f"status {status}"}), flush=True)
            return
        held.append(connection)
    print(json.dumps({"count": len(held)}), flush=True)
    sys.stdin.read()


def logins(port: int, accounts: list[str], password: str, seconds: float) -> dict:
    """Each account logs in again and again, on a connection of its own, and hears the answer to the last one too."""
    failed, counts, end = [], [0] * len(accounts), time.monotonic() + seconds

    def run(number: int, name: str) -> None:
        pair = base64.b64encode(f"{name}:{password}".encode()).decode()
        asked = request("/v1/users/authorize", {"Authorization": f"Basic {pair}", "Content-Length": "0"}, "POST")
        with connect(port, context()) as connection:
            while time.monotonic() < end and not failed:
                connection.sendall(asked)
                status, _, _ = answer(connection)
                if status != 200:
                    failed.append(f"status {status}")
                counts[number] += 1

    threads = [threading.Thread(target=run, args=one) for one in enumerate(accounts)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"failed": failed[0]} if failed else {"count": sum(counts), "seconds": time.monotonic() - begun}


def down(port: int, headers: dict[str, str], path: str, expected: int) -> dict:
    with connect(port, context()) as connection:
        connection.sendall(request(path, headers))
        status, _, count = answer(connection, keep=0)
    return {"bytes": count} if (status, count) == (200, expected) else {"failed": f"status {status}, {count} bytes"}


def up(port: int, headers: dict[str, str], size: int) -> dict:
    piece = memoryview(bytes(PIECE))
    with connect(port, context()) as connection:
        fields = {**headers, "Content-Length": str(size), "Content-Type": "application/octet-stream"}
        connection.sendall(request("/up", fields, "POST"))
        left = size
        while left:
            part = min(left, PIECE)
            connection.sendall(piece[:part])
            left -= part
        status, _, _ = answer(connection)
    return {"bytes": size} if status == 200 else {"failed": f"status {status}"}


def main() -> None:
    what = json.loads(sys.argv[1])
    kind = what.pop("kind")
    try:
        said = {"handshakes": handshakes, "idle": idle, "logins": logins, "down": down, "up": up}[kind](**what)
    except (OSError, ssl.SSLError) as error:
        said = {"failed": str(error) or type(error).__name__}
    if said is not None:
        print(json.dumps(said))


if __name__ == "__main__":
    main()
