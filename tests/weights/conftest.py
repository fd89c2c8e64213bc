"""A cache of its own for every test, made-up manifests, and a web server in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reenact_zoo.weights import manifest as manifest_module
from reenact_zoo.weights import store as store_module
from reenact_zoo.weights.manifest import WeightEntry, manifest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty; no folder and no licence level in the environment."""
    monkeypatch.setenv("REENACT_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("REENACT_ZOO_WEIGHTS", raising=False)
    monkeypatch.delenv("REENACT_ZOO_LICENCE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Callable[..., WeightEntry]:
    """Add an entry to a manifest that holds nothing else: ``declare("name", sha256=…, urls=…)``."""
    entries: dict[str, WeightEntry] = {}
    monkeypatch.setattr(manifest_module, "manifest", lambda: entries)
    monkeypatch.setattr(store_module, "manifest", lambda: entries)
    pattern = manifest()["mobilefacenet"]

    def add(name: str, **fields: Any) -> WeightEntry:
        blank = {"file": f"{name}.bin", "urls": (), "size": None, "sha256": None, "obtain": ""}
        entries[name] = replace(pattern, name=name, **(blank | fields))
        return entries[name]

    return add


class Server:
    """What the web server serves and how it misbehaves.

    Attributes:
        files: path → content.
        breaks: path → how many bytes of a body are sent before the connection is closed, one entry per request.
        tags: whether an ETag is sent; requested: (path, Range header) of every request.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, list[int]] = {}
        self.types: dict[str, str] = {}
        self.tags = True
        self.requested: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    served: Server

    def do_GET(self) -> None:
        served, body = self.served, self.served.files.get(self.path)
        served.requested.append((self.path, self.headers.get("Range")))
        if body is None:
            self.send_error(404)
            return
        tag = f'"{hash(body)}"'
        start, unchanged = 0, served.tags and self.headers.get("If-Range") == tag
        if self.headers.get("Range") and unchanged:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        if start >= len(body) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Type", served.types.get(self.path, "application/octet-stream"))
        if served.tags:
            self.send_header("ETag", tag)
        self.end_headers()
        cut = served.breaks.get(self.path)
        self.wfile.write(body[start : start + cut.pop(0)] if cut else body[start:])

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on 127.0.0.1 that knows ranges."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        served = Server(f"http://127.0.0.1:{http.server_address[1]}")
        http.RequestHandlerClass = type("Handler", (_Handler,), {"served": served})
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield served
        http.shutdown()
        thread.join()
