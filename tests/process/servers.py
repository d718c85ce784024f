"""Servers that keep a client waiting, each in its own way."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme
from typing_extensions import Self

Behaviour = Callable[[socket.socket, threading.Event], None]


class Server:
    """Calls `behaviour` with each connection, in a thread of its own."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.over = threading.Event()
        self.connections: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        # Small, so that a request that nobody reads cannot leave the client.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.port = int(self.listener.getsockname()[1])
        self._start(self._accept)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        try:
            self.behaviour(connection, self.over)
        except OSError:
            pass  # the client has left
        finally:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for end in [self.listener, *self.connections]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self.threads:
            thread.join(5)


class Certified:
    """A certificate for 127.0.0.1, and the file with the authority that signed it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)

    def over_tls(self, behaviour: Behaviour) -> Behaviour:
        def encrypted(connection: socket.socket, over: threading.Event) -> None:
            with self.context.wrap_socket(connection, server_side=True) as inside:
                behaviour(inside, over)

        return encrypted


def read_request(connection: socket.socket) -> bytes:
    """Reads a head and the body it announces; the head."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or _left()
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536) or _left()
    return head


def _left() -> bytes:
    raise OSError("the client has left")


def silent(connection: socket.socket, over: threading.Event) -> None:
    """Takes the request and never answers."""
    read_request(connection)
    over.wait()


def deaf(connection: socket.socket, over: threading.Event) -> None:
    """Never reads."""
    over.wait()


def trickles(beginning: bytes, byte: bytes, every: float = 0.02) -> Behaviour:
    """Answers with `beginning` at once, then with one more byte from time to time."""

    def behaviour(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(beginning)
        while not over.wait(every):
            connection.sendall(byte)

    return behaviour


def flood(connection: socket.socket, over: threading.Event, more: bytes) -> None:
    """Sends it again and again, as fast as it can."""
    block = more * (65536 // len(more) + 1)
    while not over.is_set():
        connection.sendall(block)


def floods(beginning: bytes, more: bytes) -> Behaviour:
    """Answers with `beginning`, then with `more` again and again, as fast as it can."""

    def behaviour(connection: socket.socket, over: threading.Event) -> None:
        read_request(connection)
        connection.sendall(beginning)
        flood(connection, over, more)

    return behaviour


def trickles_without_reading(connection: socket.socket, over: threading.Event) -> None:
    """Sends a TLS record byte by byte, as a handshake that goes on for ever."""
    record = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
    for place in range(100_000):
        connection.sendall(record[place : place + 1] or b"\0")
        if over.wait(0.02):
            return


def tunnel_never_opens(connection: socket.socket, over: threading.Event) -> None:
    """A proxy that takes CONNECT and never answers."""
    connection.recv(65536)
    over.wait()


def tunnel_trickles(connection: socket.socket, over: threading.Event) -> None:
    """A proxy whose answer to CONNECT has no end."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not over.wait(0.02):
        connection.sendall(b"a")


def tunnel_leads_nowhere(connection: socket.socket, over: threading.Event) -> None:
    """A proxy that says the tunnel is open, where nobody speaks TLS."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    over.wait()


@contextmanager
def full_backlog() -> Iterator[int]:
    """A port where no connection is accepted and none refused."""
    listener = socket.socket()
    fillers: list[socket.socket] = []
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        where = listener.getsockname()
        deadline = time.monotonic() + 10
        while True:
            filler = socket.socket()
            fillers.append(filler)
            filler.settimeout(0.2)
            try:
                filler.connect(where)
            except TimeoutError:
                break
            assert time.monotonic() < deadline, "the backlog does not fill up"
        yield int(where[1])
    finally:
        for end in [listener, *fillers]:
            end.close()
