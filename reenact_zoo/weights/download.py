"""Downloads of weight files: mirrors in turn, continued where they broke off, checked before they are visible."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reenact_zoo.types import InputError
from reenact_zoo.weights.folders import cache_folder
from reenact_zoo.weights.manifest import WeightEntry, placing
from reenact_zoo.weights.place import place
from reenact_zoo.weights.store import WeightStore

ATTEMPTS = 3  # per mirror; each continues where the last one broke off
TIMEOUT_S = (10, 30)  # to connect, between two blocks
BLOCK = 1 << 16  # bytes


def fetch(name: str, store: WeightStore | None = None, progress: bool = True) -> Path:
    """File of an entry, downloaded where it is not at hand.

    Args:
        name: manifest entry.
        store: whose licence level decides what may be downloaded.
        progress: show a bar.

    Raises:
        InputError: the entry is unknown, its licence is not allowed, only the user can supply it, no mirror answered,
            or what came is not what the manifest says (it is deleted). One line; it says what to do.
    """
    store = store or WeightStore()
    entry = store.entry(name)
    if store.at_hand(name) or not store.allowed(name):
        return store.path(name)  # or the refusal it raises
    if not entry.urls:
        how = f"`reenact-zoo weights show {name}` says how to get it" if entry.obtain else "it has no address"
        raise InputError(f"weights '{name}' cannot be downloaded: {how}; then {placing(entry)}")
    path = _from_mirrors(entry, progress)
    store.refresh()
    return path


def _from_mirrors(entry: WeightEntry, progress: bool) -> Path:
    failures = []
    for url in entry.urls:
        try:
            return _from(url, entry, progress)
        except (OSError, InputError) as error:  # those of requests are OSErrors; so is a full disk
            failures.append(f"{urlsplit(url).netloc}: {_reason(error)}")
    raise InputError(
        f"weights '{entry.name}' could not be downloaded ({'; '.join(failures)}); {placing(entry)}; "
        f"source: {entry.urls[0]}"
    )


def _from(url: str, entry: WeightEntry, progress: bool) -> Path:
    """One mirror; the download is deleted as soon as it is placed or found to be wrong."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    folder = cache_folder() / "unfinished"
    folder.mkdir(parents=True, exist_ok=True)
    name = urlsplit(url).path.rpartition("/")[2]
    downloader = Continuing(folder / f"{entry.name}-{urlsplit(url).netloc.replace(':', '_')}.part", entry, progress)
    with _alone(folder / f"{entry.name}.lock", entry):
        for attempt in range(ATTEMPTS):
            before = downloader.received()
            try:
                complete = Path(pooch.retrieve(url, None, f"{entry.name}-{name}", folder, downloader=downloader))
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt + 1 == ATTEMPTS or downloader.received() <= before:
                    raise  # a mirror that gives nothing is not asked again
        try:
            return place(complete, entry, origin="the downloaded file, deleted,")
        finally:
            complete.unlink(missing_ok=True)


@contextmanager
def _alone(lock: Path, entry: WeightEntry) -> Iterator[None]:
    """Two processes must not write into one part file; the lock ends with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows: the check by sha256 still catches a mixture
        yield
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is downloading weights '{entry.name}'; wait for it") from error
        yield


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off; the next fetch continues"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


class Continuing:
    """A pooch downloader whose file survives an interruption and is continued by the next call.

    What arrived lies in ``part``; beside it the server's validator (ETag or date). The next call asks for the rest on
    the condition that the validator still holds; without a validator, or when the file changed, it starts again.
    """

    def __init__(self, part: Path, entry: WeightEntry, progress: bool) -> None:
        self._part, self._note = part, part.with_suffix(".json")
        self._entry, self._progress = entry, progress

    def received(self) -> int:
        """Bytes that lie in the part file."""
        return self._part.stat().st_size if self._part.is_file() else 0

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> None:
        """Download ``url`` to ``output_file`` (a path), which appears complete or not at all."""
        import requests

        start, validator = self.received(), self._validator(url)
        conditions = {"Range": f"bytes={start}-", "If-Range": validator} if start and validator else {}
        headers = {"Accept-Encoding": "identity", **conditions}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
            if response.status_code == 416:  # nothing is left to send, or the part is longer than the file
                self.discard()
                self(url, output_file, pooch)
                return
            response.raise_for_status()
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise InputError("answered with a web page, not with a file")
            continues = response.status_code == 206
            self._write_note(url, response)
            self._receive(response, start if continues else 0)
        self._part.replace(output_file)
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Forget what arrived."""
        self._part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _receive(self, response: Any, start: int) -> None:
        import requests

        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with self._part.open("ab" if start else "wb") as file, _bar(self._entry, total, self._progress) as advance:
            advance(start)
            for block in response.iter_content(BLOCK):
                file.write(block)
                advance(len(block))
        if total is not None and self.received() != total:
            raise requests.exceptions.ChunkedEncodingError(f"{self.received()} of {total} bytes arrived")

    def _validator(self, url: str) -> str | None:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note.get("validator") if note.get("url") == url else None

    def _write_note(self, url: str, response: Any) -> None:
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        self._note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


@contextmanager
def _bar(entry: WeightEntry, total: int | None, progress: bool) -> Iterator[Any]:
    """Gives a function that advances the bar by a number of bytes."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not progress) as shown:
        task = shown.add_task(entry.name, total=total)
        yield lambda count: shown.advance(task, count)
