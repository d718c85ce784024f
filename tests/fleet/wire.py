"""Wires between a worker and a server, which a test cuts, freezes and mends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import threading

from typing_extensions import Self

CLONE_NEWNET = 0x40000000

Address = str | tuple[str, int]


class Wire:
    """Passes connections on to a server: a path, or host and port."""

    def __init__(self, server: Address, listener: socket.socket | None = None) -> None:
        self.server = server
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.flows = threading.Event()
        self.flows.set()
        self.is_cut = False
        self.ends: set[socket.socket] = set()
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits for a connection is not woken by a close.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()
        self.flows.set()

    def cut(self) -> None:
        """Ends all connections, and each new one at once."""
        self.is_cut = True
        with self.lock:
            for end in self.ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Nothing comes through, and nobody hears of it."""
        self.flows.clear()

    def mend(self) -> None:
        self.is_cut = False
        self.flows.set()

    def close_towards(self, server: bool) -> None:
        """Half of each connection is closed: a side hears no more, and may still speak."""
        with self.lock:
            for end in self.ends:
                is_clients = end.getsockname() == self.listener.getsockname()
                if is_clients != server:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_WR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = self._connected()
            except OSError:
                client.close()
                continue
            with self.lock:
                self.ends |= {client, server}
            if self.is_cut:
                self._forget(client, server)
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _connected(self) -> socket.socket:
        if isinstance(self.server, str):
            end = socket.socket(socket.AF_UNIX)
            end.connect(self.server)
            return end
        return socket.create_connection(self.server, timeout=None)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                self.flows.wait()
                target.sendall(data)
        except OSError:
            pass
        self.flows.wait()
        self._forget(source, target)

    def _forget(self, *ends: socket.socket) -> None:
        """The first of the two threads of a connection ends it."""
        with self.lock:
            for end in ends:
                if end in self.ends:
                    self.ends.remove(end)
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                    end.close()


class Host:
    """A network of its own, with wires to servers of this one. Only root may make it."""

    def __init__(self, *servers: tuple[Address, int]) -> None:
        """Each server is found at a port of 127.0.0.1 in there."""
        self.wires: list[Wire] = []
        self.failed = ""
        # Threads and programs are born into the network of the thread that makes them.
        thread = threading.Thread(target=self._make, args=(servers,))
        thread.start()
        thread.join()
        assert not self.failed, f"{self.failed}; this test makes a network, as root may"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for wire in self.wires:
            wire.__exit__()
        os.close(self.network)

    def _make(self, servers: tuple[tuple[Address, int], ...]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        if libc.unshare(CLONE_NEWNET) != 0:
            self.failed = f"unshare: {os.strerror(ctypes.get_errno())}"
            return
        self.network = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        # In front of a program that runs in it.
        self.before = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self.network}")
        self.plug()
        listeners = [socket.create_server(("127.0.0.1", port)) for _, port in servers]
        libc.setns(outside, CLONE_NEWNET)
        os.close(outside)
        self.wires = [
            Wire(server, listener) for (server, _), listener in zip(servers, listeners, strict=True)
        ]

    def unplug(self) -> None:
        """What is sent is lost, and nobody hears of it."""
        self._link("down")

    def plug(self) -> None:
        self._link("up")

    def _link(self, state: str) -> None:
        try:
            subprocess.run([*self.before, "ip", "link", "set", "lo", state], check=True, timeout=60)
        except (OSError, subprocess.CalledProcessError) as why:
            self.failed = f"ip link: {why}"
