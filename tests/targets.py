"""Targets for tests: small TCP servers in threads, on ports of their own choosing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

Serve = Callable[[socket.socket], None]


class Target:
    """Serves every connection with `serve` in a thread, until `stop`. `port` stays the same after `start`."""

    def __init__(self, serve: Serve, host: str = "127.0.0.1", port: int = 0) -> None:
        self._serve = serve
        self._host = host
        self.port = port
        self.accepted = 0
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self.start()

    def start(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, self.port), family=family, backlog=1024)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """As a killed server: nothing listens, what was open is reset."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for sock in list(self._open):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._open)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.add(sock)
            threading.Thread(target=self._handle, args=(sock,), daemon=True).start()

    def _handle(self, sock: socket.socket) -> None:
        try:
            with sock:
                self._serve(sock)
        except OSError:
            pass
        finally:
            self._open.discard(sock)


def echo(sock: socket.socket) -> None:
    """Sends back what comes, until the end."""
    while data := sock.recv(65536):
        sock.sendall(data)


def say(text: bytes) -> Serve:
    """Sends `text` and closes."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(text)

    return serve


def http(body: bytes) -> Serve:
    """Answers one request with `body`."""

    def serve(sock: socket.socket) -> None:
        if sock.recv(65536):
            sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    return serve


def endless(sock: socket.socket) -> None:
    """Sends for ever."""
    block = b"\0" * 65536
    while True:
        sock.sendall(block)
