"""Downloads of published weights into the cache: resumable, and checked at each use.

The client of the Hugging Face hub would bring fifteen packages, and checks a file's size but not its digest.
"""

from __future__ import annotations

import http.client
import logging
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import FileLock

from generator.errors import FetchFailed, OutputFailed
from generator.system.files import cache_home, sha256_of

if TYPE_CHECKING:
    from generator.weights.publishers import Remote

logger = logging.getLogger(__name__)

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
RANGE_NOT_SATISFIABLE = 416
SHA256 = re.compile(r"[0-9a-f]{64}")
OFFLINE = "download it on a machine with network access, and give the file with `weights`"
AGAIN = "run the same command again to continue"


def fetch(publisher: str, remote: Remote) -> Path:
    """Return the file in the cache; download it first if it is not there.

    The file must have the publisher's SHA-256, or the one of the first download, which `<file>.sha256` records.

    Raises:
        FetchFailed: the download failed, or the digest is wrong.
        OutputFailed: the cache cannot be written.
    """
    folder = cache_home() / "weights" / publisher
    path, record = folder / remote.file, folder / f"{remote.file}.sha256"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A second process waits, and then finds the file.
        with FileLock(folder / f".{remote.file}.lock", fallback_to_soft=False):
            recorded = record.read_text().strip() if record.exists() else remote.sha256_prefix
            if path.exists():
                check(path, sha256_of(path), recorded)
                return path
            partial = path.with_name(f"{path.name}.part")
            logger.info("fetching %s", remote.url)
            linked = download(remote.url, partial)
            found = sha256_of(partial)
            try:
                check(partial, found, remote.sha256_prefix, linked, recorded)
            except FetchFailed:
                partial.unlink()  # the next attempt starts from the beginning
                raise
            record.write_text(f"{found}\n")
            partial.replace(path)
            return path
    except OSError as error:
        raise OutputFailed(folder, error) from error


def check(path: Path, found: str, *expected: str) -> None:
    """Raise FetchFailed unless the digest begins with each of the expected ones."""
    for digits in expected:
        if not found.startswith(digits):
            raise FetchFailed(
                str(path),
                f"its SHA-256 is {found[: max(8, len(digits))]}, not {digits}",
                "delete it, and also the .sha256 beside it if the publisher has replaced the file",
            )


def download(url: str, partial: Path) -> str:
    """Download the part of a file that is missing, and return the SHA-256 that a redirect announced, or "".

    Raises:
        FetchFailed: the server cannot be reached, refuses, or ends the connection early.
    """
    if not url.startswith(("https://", "http://")):
        raise FetchFailed(url, "it is not a web address")
    mark = partial.with_name(f"{partial.name}.etag")
    etag = mark.read_text() if mark.exists() else ""
    done = partial.stat().st_size if partial.exists() and etag else 0
    headers = {"User-Agent": "tritongen", "Accept-Encoding": "identity"}
    if done:  # If-Range: the whole file if it has changed since
        headers |= {"Range": f"bytes={done}-", "If-Range": etag}
    redirects = Redirects()
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (the scheme is checked above)
    try:
        with urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT_S) as answer:
            resumed = answer.status == http.client.PARTIAL_CONTENT
            mark.write_text(answer.headers.get("ETag") or "")
            missing = int(answer.headers.get("Content-Length") or 0)
            with partial.open("ab" if resumed else "wb") as file:
                while chunk := answer.read(CHUNK_BYTES):
                    missing -= file.write(chunk)
            if missing > 0:
                raise FetchFailed(url, f"the connection ended {missing} bytes early", AGAIN)
            mark.unlink()
            return redirects.sha256
    except urllib.error.HTTPError as error:
        stale = error.code == RANGE_NOT_SATISFIABLE  # the file is complete, or has changed
        if stale:
            partial.unlink()
        raise FetchFailed(
            url, f"the server answers {error.code} {error.reason}", AGAIN if stale else OFFLINE
        ) from error
    except urllib.error.URLError as error:
        raise FetchFailed(url, str(error.reason), OFFLINE) from error
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise FetchFailed(url, str(error) or type(error).__name__, AGAIN) from error


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http, and keeps the SHA-256 that the Hugging Face hub sends with one."""

    sha256 = ""

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
