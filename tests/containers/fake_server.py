"""A TCP server that answers each HTTP request with the bytes it is told, or with nothing at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = Callable[[str, str, bytes], bytes | None]


def http(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def ok(value: Any) -> bytes:
    return http(200, json.dumps(value).encode())


@contextmanager
def serve(answer: Answer) -> Iterator[int]:
    """Answer with `answer(method, path, body)`; None keeps the connection open without a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []

    def talk(peer: socket.socket) -> None:
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    part = peer.recv(65536)
                    if not part:
                        return
                    data += part
                head, _, data = data.partition(b"\r\n\r\n")
                length = next((int(f[15:]) for f in head.split(b"\r\n") if f.lower().startswith(b"content-length:")), 0)
                while len(data) < length:
                    data += peer.recv(65536)
                method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
                reply = answer(method, path, data[:length])
                data = data[length:]
                if reply is not None:
                    peer.sendall(reply)
        except OSError:
            return

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(peer)
            threading.Thread(target=talk, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept, which would else keep the port
        listener.close()
        for peer in open_sockets:
            peer.close()
