"""A local server for tests of downloads, which breaks off and refuses as a test asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server(ThreadingHTTPServer):
    """Serves one file at every path, as badly as its attributes say."""

    breaks: int = 0
    """Number of first answers that break off half way."""
    codes: tuple[int, ...] = ()
    """Status codes of the first answers."""
    ranges: bool = True
    length: bool = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.headers.get("Range", ""))
        number = len(server.asked)
        if number <= len(server.codes):
            self.send_error(server.codes[number - 1])
            return
        start = int(self.headers["Range"][6:-1]) if "Range" in self.headers and server.ranges else 0
        if start and start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body) // 2] if number <= server.breaks else body)

    def log_message(self, *_: object) -> None:
        """Quietly."""


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[Server]:
    """Run a server until the block ends."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(content) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
