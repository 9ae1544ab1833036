"""A publisher's file in the cache: fetched once, in as many attempts as it takes, and checked every time it is used.

The Hugging Face hub's own client would bring fifteen packages, and checks the size of a file but not its digest.
"""

from __future__ import annotations

import http.client
import logging
import re
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock

from generator.errors import FetchFailed, OutputFailed
from generator.system.files import cache_home, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from generator.weights.publishers import Remote

logger = logging.getLogger(__name__)

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
RANGE_NOT_SATISFIABLE = 416
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(publisher: str, remote: Remote) -> Path:
    """The file in the cache, whole, with the digest it must have.

    That is the publisher's where there is one; else the one that it had when it was first fetched, which stands
    beside it in `<file>.sha256` even after the file itself was deleted.

    Raises:
        FetchFailed: it cannot be reached, or its digest is another.
        OutputFailed: the cache cannot be written.
    """
    folder = cache_home() / "weights" / publisher
    path, record = folder / remote.file, folder / f"{remote.file}.sha256"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A second process waits, and then finds the file.
        with FileLock(folder / f".{remote.file}.lock", fallback_to_soft=False):
            told = record.read_text().strip() if record.exists() else remote.sha256_prefix
            if path.exists():
                check(path, sha256_of(path), told)
                return path
            partial = path.with_name(f"{path.name}.part")
            logger.info("fetching %s", remote.url)
            published = download(remote.url, partial)
            found = sha256_of(partial)
            try:
                check(partial, found, remote.sha256_prefix, published or "", told)
            except FetchFailed:
                partial.unlink()  # the next attempt begins anew
                raise
            record.write_text(f"{found}\n")
            partial.replace(path)
            return path
    except OSError as error:
        raise OutputFailed(folder, error) from error


def check(path: Path, found: str, *told: str) -> None:
    """Raise FetchFailed unless the digest begins as each one that was told."""
    for digits in told:
        if not found.startswith(digits):
            raise FetchFailed(
                str(path),
                f"its SHA-256 is {found[: max(8, len(digits))]}, not {digits}",
                "delete it, and the .sha256 beside it if the publisher has replaced the file",
            )


def download(url: str, partial: Path) -> str | None:
    """Fetch what of the file is not there yet; the SHA-256 that the server tells with it, if it does.

    Raises:
        FetchFailed: the server cannot be reached, refuses, or ends before the file does.
    """
    mark = partial.with_name(f"{partial.name}.etag")
    etag = mark.read_text() if mark.exists() else ""
    done = partial.stat().st_size if partial.exists() and etag else 0
    headers = {"User-Agent": "tritongen", "Accept-Encoding": "identity"}
    if done:
        # The rest, if the file is still the one that was begun.
        headers |= {"Range": f"bytes={done}-", "If-Range": etag}
    follow = Redirects()
    try:
        with urllib.request.build_opener(follow).open(request(url, headers), timeout=TIMEOUT_S) as answer:
            resumed = answer.status == http.client.PARTIAL_CONTENT
            mark.write_text(answer.headers.get("ETag") or "")
            with partial.open("ab" if resumed else "wb") as file:
                copy(answer, file, url)
            mark.unlink()
            return follow.sha256
    except urllib.error.HTTPError as error:
        stale = error.code == RANGE_NOT_SATISFIABLE  # all of it is there, or another file is
        if stale:
            partial.unlink()
        hint = AGAIN if stale else OFFLINE
        raise FetchFailed(url, f"the server answers {error.code} {error.reason}", hint) from error
    except urllib.error.URLError as error:
        raise FetchFailed(url, str(error.reason), OFFLINE) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise FetchFailed(url, str(error) or type(error).__name__, AGAIN) from error


OFFLINE = "download it on a machine with network access, and give the file with `weights`"
AGAIN = "the same command goes on where it stopped"


def copy(answer: Any, file: IO[bytes], url: str) -> None:  # noqa: ANN401 (http.client's response)
    """Write what the server sends, and notice when it is less than it said."""
    expected = answer.headers.get("Content-Length")
    received = 0
    while chunk := answer.read(CHUNK_BYTES):
        file.write(chunk)
        received += len(chunk)
    if expected is not None and received < int(expected):
        raise FetchFailed(url, f"the connection ended {int(expected) - received} bytes early", AGAIN)


def request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    """A GET; of the schemes that urllib knows, only the web's."""
    if not url.startswith(("https://", "http://")):
        raise FetchFailed(url, "it is no web address")
    return urllib.request.Request(url, headers=headers)  # noqa: S310 (looked at above)


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from https to http, and keeps the SHA-256 that the hub sends with the first."""

    sha256: str | None = None

    def redirect_request(  # noqa: D102
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https://") and not newurl.startswith("https://"):
            raise FetchFailed(req.full_url, f"it redirects to {newurl}, which is not https")
        linked = (headers.get("X-Linked-ETag") or "").strip('"')
        if SHA256.fullmatch(linked):
            self.sha256 = linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)
