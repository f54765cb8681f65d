"""An application that answers whatever it is asked, for clients who only want to know whether they are let in."""

import asyncio
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Application(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport, self._rest = transport, b""

    def data_received(self, data: bytes) -> None:
        self._rest += data
        # Requests without bodies.
        while b"\r\n\r\n" in self._rest:
            _, _, self._rest = self._rest.partition(b"\r\n\r\n")
            self._transport.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Application, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
