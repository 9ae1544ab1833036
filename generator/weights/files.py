"""Files of weights, found by name, or published and downloaded into the cache, and checked at each use.

The client of the Hugging Face hub would bring fifteen packages, and checks a file's size but not its digest.
"""

import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from generator.errors import BadValue, FetchFailed, OutputFailed, quoted
from generator.networks.types import Network
from generator.system.files import cache_home, sha256_of, write_whole
from generator.system.text import listed

logger = logging.getLogger(__name__)

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pdparams")
HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # names in repositories of the Hugging Face hub, best first
NAMING = "name a file after its network: dpn92.pth, dpn92-….safetensors, DPN92_pretrained.pdparams"
TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20
LARGEST_BYTES = 1 << 30  # the largest published file, of DPN107, has 348 MB
RANGE_NOT_SATISFIABLE = 416
SHA256 = re.compile(r"[0-9a-f]{64}")
RECORD_BYTES = 1 << 10
ETAG = re.compile(r'(W/)?"[!#-~]*"')  # RFC 9110, 8.8.3, without bytes above 127
OFFLINE = "download it on a machine with network access, and give the file with `weights`"
AGAIN = "run the same command again to continue"
PUBLISHERS = ("torchvision", "timm", "paddleclas")
# The eight hex digits are the beginning of the file's SHA-256 (torch.hub, `HASH_REGEX`).
TORCHVISION_DIGITS = {
    "densenet121": "a639ec97",
    "densenet161": "8d451a50",
    "densenet169": "b2777c0a",
    "densenet201": "c1103571",
}
# timm's tags of the weights that torchvision and the authors of DPN trained.
TIMM_TAGS = {
    **dict.fromkeys(TORCHVISION_DIGITS, "tv_in1k"),
    **dict.fromkeys(("dpn68", "dpn92", "dpn98", "dpn107", "dpn131"), "mx_in1k"),
}
PADDLECLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph"


def find(path: Path, networks: Sequence[Network]) -> dict[str, Path]:
    """Return each network's file, `path` itself or one in it, by name; raise BadValue if there is none or several."""
    try:
        entries = sorted(path.iterdir()) if path.is_dir() else None
        exists = path.exists()
    except OSError as error:
        raise BadValue("weights", path, (error.strerror or str(error)).lower()) from error
    if not exists:
        raise BadValue("weights", path, "there is no such file or folder")
    if entries is None:
        if len(networks) != 1:
            why = f"a file needs exactly one network ({len(networks)} selected)"
            raise BadValue("weights", path, why, "name the network with `models`, or give a folder")
        return {networks[0].name: path}
    found = {network.name: files_of(network, entries) for network in networks}
    if missing := [name for name, files in found.items() if not files]:
        held = f"it holds {listed([entry.relative_to(path) for entry in entries])}" if entries else "it is empty"
        raise BadValue("weights", path, f"no file for {', '.join(missing)}; {held}", NAMING)
    for name, files in found.items():
        if len(files) > 1:
            why = f"{len(files)} files for {name}: {listed([file.relative_to(path) for file in files])}"
            raise BadValue("weights", path, why, "keep one of them, or give the file itself")
    return {name: files[0] for name, files in found.items()}


def files_of(network: Network, entries: Sequence[Path]) -> list[Path]:
    """Return the weights files that are named after the network, or in a folder that is."""
    named = [path for path in entries if re.match(rf"{re.escape(network.name)}(?![^\W_])", path.name, re.IGNORECASE)]
    files = [path for path in named if path.suffix.lower() in SUFFIXES and path.is_file()]
    for folder in named:
        files += [path for name in HUB_FILES if (path := folder / name).is_file()][:1]
    return files


@dataclass(frozen=True)
class Remote:
    """A published file: its address, its name in the cache, and the beginning of its SHA-256, if that is published."""

    url: str
    file: str
    sha256_prefix: str = ""


def remote(publisher: str, network: Network) -> Remote:
    """Return a publisher's file for a network; raise BadValue if the publisher has none."""
    name = network.name
    if publisher == "paddleclas":
        file = f"{network.title}_pretrained.pdparams"
        return Remote(f"{PADDLECLAS}/{file}", file)
    if publisher == "torchvision" and name in TORCHVISION_DIGITS:
        file = f"{name}-{TORCHVISION_DIGITS[name]}.pth"
        return Remote(f"https://download.pytorch.org/models/{file}", file, TORCHVISION_DIGITS[name])
    if publisher == "timm" and name in TIMM_TAGS:
        file = f"{name}.{TIMM_TAGS[name]}"
        # HF_ENDPOINT names a mirror of the Hugging Face hub. The hub sends the SHA-256 with the file.
        hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return Remote(f"{hub}/timm/{file}/resolve/main/model.safetensors", f"{file}.safetensors")
    raise BadValue("weights", publisher, f"{publisher} has no {name}", "paddleclas has all ten")


def fetch(publisher: str, remote: Remote) -> Path:
    """Return the file in the cache; download it first if it is not there.

    The file must have the publisher's SHA-256, if that is published, and the one of the first download, which
    `<file>.sha256` records. A file without a record is downloaded again.

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
            recorded = recorded_digest(record)
            if path.exists() and recorded:
                check(path, sha256_of(path), remote.sha256_prefix, recorded)
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
            write_whole(record, f"{found}\n")
            partial.replace(path)
            return path
    except OSError as error:
        raise OutputFailed(folder, error) from error


def recorded_digest(record: Path) -> str:
    """Return the SHA-256 of the first download, or an empty text if there is no record.

    Raises:
        FetchFailed: the record is not 64 hex digits: an empty one would fit every file.
    """
    if not record.exists():
        return ""
    with record.open("rb") as file:
        text = file.read(RECORD_BYTES).decode("ascii", "replace").strip()
    if not SHA256.fullmatch(text):
        raise FetchFailed(record, "it is not a SHA-256 of 64 hex digits", "delete it, and the file beside it")
    return text


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
    """Download the rest of a file and return the SHA-256 of a redirect, or an empty text; raise FetchFailed."""
    if not url.startswith(("https://", "http://")):
        raise FetchFailed(url, "it is not a web address")
    mark = partial.with_name(f"{partial.name}.etag")
    etag = mark.read_text(errors="replace") if mark.exists() else ""
    done = partial.stat().st_size if partial.exists() and ETAG.fullmatch(etag) else 0
    headers = {"User-Agent": "tritongen", "Accept-Encoding": "identity"}
    if done:  # If-Range: the whole file if it has changed since
        headers |= {"Range": f"bytes={done}-", "If-Range": etag}
    redirects = Redirects()
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (the scheme is checked above)
    try:
        with urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT_S) as answer:
            start = done if answer.status == http.client.PARTIAL_CONTENT else 0
            expected = start + content_length(url, answer, start)
            mark.write_text(answer.headers.get("ETag") or "", errors="replace")
            size = start
            with partial.open("ab" if start else "wb") as file:
                while max(size, expected) <= LARGEST_BYTES and (chunk := answer.read(CHUNK_BYTES)):
                    size += file.write(chunk)
            if max(size, expected) > LARGEST_BYTES:
                partial.unlink()
                raise FetchFailed(url, f"it is larger than {LARGEST_BYTES >> 20} MiB, as no weights file is", OFFLINE)
            if size < expected:
                raise FetchFailed(url, f"the connection ended {expected - size} bytes early", AGAIN)
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
    except (http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:  # ValueError: a bad address
        raise FetchFailed(url, str(error) or type(error).__name__, AGAIN) from error


def content_length(url: str, answer: http.client.HTTPResponse, start: int) -> int:
    """Return the Content-Length of an answer, or 0 without one.

    Raises:
        FetchFailed: the answer is a part of the file that does not begin at `start`, or the length is no number.
    """
    part = answer.headers.get("Content-Range") or ""
    if answer.status == http.client.PARTIAL_CONTENT and not (start and part.startswith(f"bytes {start}-")):
        raise FetchFailed(url, "the server sent a part of the file that was not requested", OFFLINE)
    length = answer.headers.get("Content-Length") or "0"
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise FetchFailed(url, f"the server sent the Content-Length {quoted(length)}", OFFLINE)
    return int(length)


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
        safe = ("https://",) if req.full_url.startswith("https://") else ("https://", "http://")
        if not newurl.startswith(safe):
            raise FetchFailed(req.full_url, f"it redirects to {newurl}, which is not {safe[-1].removesuffix('://')}")
        linked = (headers.get("X-Linked-ETag") or "").strip('"')
        if SHA256.fullmatch(linked):
            self.sha256 = linked
        return super().redirect_request(req, fp, code, msg, headers, newurl)
