"""A name server for tests: knows a few names, and listens where /etc/resolv.conf can point."""

import socket
import struct
import threading

A, IN = 1, 1
NOT_THERE = 3


class NameServer:
    """`with NameServer({name: address}) as server:` answers at `server.address`, port 53 (for which it takes root)."""

    def __init__(self, names):
        self.address = "127.0.0.77"
        self.asked = 0
        self._names = names
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, 53))

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._socket.close()

    def _serve(self):
        while True:
            try:
                query, client = self._socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query):
        """RFC 1035, sections 4.1.1 to 4.1.3: one question, no answer or one, no more."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = query[12 : at + 5]
        kind = struct.unpack_from(">H", query, at + 1)[0]
        address = self._names.get(".".join(labels))
        answer = b""
        if address and kind == A:
            answer = struct.pack(">HHHIH", 0xC00C, A, IN, 1, 4) + socket.inet_aton(address)
        code = 0 if address else NOT_THERE
        # An answer, with recursion asked for and given.
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, bool(answer), 0, 0) + question + answer
