"""WebSocket with the real websockets library at both ends: messages, closing, refusals, the end of the right to it."""

import asyncio
import contextlib
import json
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sidecar import USER, Sidecar, check

SECONDS = 10
LARGEST = 8 << 20


class Application:
    """Tells which headers came, then echoes; `close` makes it close the connection itself."""

    def __init__(self):
        self.ends = asyncio.Queue()

    async def __call__(self, connection):
        headers = connection.request.headers.raw_items()
        await connection.send(json.dumps({name.lower(): value for name, value in headers}))
        with contextlib.suppress(ConnectionClosed):
            while (message := await connection.recv()) != "close":
                await connection.send(message)
            await connection.close(4321, "as asked")
        await self.ends.put(connection.close_code)

    async def ended(self):
        """Waits for the next connection to end; its close code as the application saw it, 1006 where none came."""
        return await soon(self.ends.get())


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, SECONDS)


@contextlib.asynccontextmanager
async def opened(proxy, token):
    """A connection through the sidecar, and the headers that the application saw."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"X-Forwarded-User": "root", "x_forwarded_user": "root"}
    async with connect(
        f"wss://localhost:{proxy.port}/chat?room=1", ssl=proxy.tls(), additional_headers=headers, proxy=None,
        subprotocols=["chat"], open_timeout=SECONDS, close_timeout=SECONDS, max_size=LARGEST,
    ) as connection:  # fmt: skip
        yield connection, json.loads(await soon(connection.recv()))


async def messages(proxy, token, application):
    async with opened(proxy, token) as (connection, seen):
        check(connection.subprotocol == "chat", "a subprotocol is agreed on", connection.subprotocol)
        deflated = "permessage-deflate" in connection.response.headers.get("Sec-WebSocket-Extensions", "")
        check(deflated, "so is an extension", connection.response.headers)
        check(seen.get("x-forwarded-user") == USER, "the application sees who calls", seen)
        check("authorization" not in seen and "x_forwarded_user" not in seen, "and nothing that says otherwise", seen)
        for what, message in [
            ("text", "grüß dich"), ("binary", bytes(range(256))), ("empty", ""), ("6 MiB", b"\0\xff\1" * (2 << 20)),
        ]:  # fmt: skip
            await connection.send(message)
            check(await soon(connection.recv()) == message, f"a message: {what}")
        await connection.send(["in ", "several ", "pieces"])
        check(await soon(connection.recv()) == "in several pieces", "a message in fragments")
        await soon(await connection.ping())
        check(True, "a ping is answered")
        started = time.monotonic()
        for number in range(200):
            await connection.send(str(number))
            await soon(connection.recv())
        spent = time.monotonic() - started
        check(spent < 4, "200 messages there and back are not held up", f"{spent:.1f} s")
    code = await application.ended()
    check(code == 1000, "the connection ends as it should", code)


async def closing(proxy, token, application):
    async with opened(proxy, token) as (connection, _):
        await connection.send("close")
        try:
            found = await soon(connection.recv())
        except ConnectionClosed as closed:
            found = (closed.rcvd.code, closed.rcvd.reason)
        check(found == (4321, "as asked"), "the application's close code and reason arrive", found)
        check(await application.ended() == 4321, "and end the connection")
    async with opened(proxy, token) as (connection, _):
        await connection.close(4000, "bye")
        check(connection.close_code == 4000, "the client's close is answered", connection.close_code)
        check(await application.ended() == 4000, "by the application")


async def refused(proxy, token, what):
    try:
        async with opened(proxy, token):
            check(False, what, "a connection")
    except InvalidStatus as error:
        check(error.response.status_code == 401, what, error.response.status_code)
        check("WWW-Authenticate" in error.response.headers, "with a challenge", error.response.headers)


async def ends_with_the_right_to_it(proxy, token, application):
    """A user who is disabled loses connections that are open already."""
    async with opened(proxy, token) as (connection, _):
        await counted(proxy, 1, "an open connection is counted")
        proxy.users[USER]["disabled"] = True
        proxy.write_users()
        try:
            found = await soon(connection.recv())
        except ConnectionClosed as closed:
            found = closed
        check(isinstance(found, ConnectionClosed), "the connection of a user who is disabled ends", found)
        code = found.rcvd and (found.rcvd.code, found.rcvd.reason)
        check(code == (1008, "access revoked"), "with a close code that says so", code)
        code = await application.ended()
        check(code == 1008, "at the application too", code)
    await refused(proxy, token, "and there is no other")
    await counted(proxy, 0, "none is counted any more")


async def counted(proxy, wanted, what):
    deadline = time.monotonic() + SECONDS
    while (found := tunnels(proxy)) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    check(found == wanted, what, found)


def tunnels(proxy):
    lines = proxy.admin("/metrics")[1].decode().splitlines()
    return int(next(line for line in lines if line.startswith("vestibule_tunnels ")).split()[1])


async def main():
    application = Application()
    async with serve(application, "127.0.0.1", 0, subprotocols=["chat"], max_size=LARGEST) as server:
        with Sidecar(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy:
            token = proxy.token()
            await messages(proxy, token, application)
            await closing(proxy, token, application)
            await refused(proxy, None, "no token: 401")
            await refused(proxy, "a.b.c", "a token that is none: 401")
            await ends_with_the_right_to_it(proxy, token, application)


if __name__ == "__main__":
    asyncio.run(main())
