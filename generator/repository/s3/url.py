"""URLs of repositories in S3: `s3://bucket/prefix`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from generator.errors import BadValue

SCHEME = "s3://"
# A server that is not of AWS, as Triton parses it. Source: core, src/filesystem/implementations/s3.h.
ENDPOINT = re.compile(r"(?P<endpoint>https?://[0-9a-zA-Z.-]+:[0-9]{1,5})/(?P<rest>.*)", re.DOTALL)
TRITON_PATH = re.compile(r"[0-9a-zA-Z._/-]*")
# Source: AWS, "General purpose buckets naming rules".
BUCKET = re.compile(r"[0-9a-z][0-9a-z.-]{1,61}[0-9a-z]")
PRIVATE = ".vpce."  # an endpoint of AWS in a private network, which Triton does not find by itself
AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
PORTS = {"http": 80, "https": 443}
HINT = "s3://BUCKET/PREFIX, or s3://http://HOST:PORT/BUCKET/PREFIX for a server that is not AWS's"


@dataclass(frozen=True)
class S3Url:
    """A bucket and a prefix of keys without outer slashes; `endpoint` is None unless the URL names a server."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None

    def __str__(self) -> str:
        """Return the URL as users and Triton write it."""
        start = f"{self.endpoint}/" if self.endpoint else ""
        return f"{SCHEME}{start}{self.path}"

    def __truediv__(self, name: str) -> S3Url:
        """Return the URL of a name below this one."""
        return S3Url(self.bucket, f"{self.prefix}/{name}" if self.prefix else name, self.endpoint)

    @property
    def path(self) -> str:
        """The path `bucket/prefix` for fsspec."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def parent(self) -> S3Url:
        """The URL one level above."""
        return S3Url(self.bucket, self.prefix.rpartition("/")[0], self.endpoint)


def parse(text: str, parameter: str) -> S3Url:
    """Parse a text that begins with s3://; raise BadValue, which names `parameter`, if a repository cannot be there."""
    rest, endpoint = text.removeprefix(SCHEME), None
    if "://" in rest:
        if not (matched := ENDPOINT.fullmatch(rest)):
            raise BadValue(parameter, text, "names no server", HINT)
        rest, endpoint = matched["rest"], matched["endpoint"]
    bucket, *parts = rest.rstrip("/").split("/")
    if not BUCKET.fullmatch(bucket):
        raise BadValue(parameter, text, f"{bucket!r} is not a valid bucket name", HINT)
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise BadValue(parameter, text, "a part of its path is empty or not a valid folder name", HINT)
    return S3Url(bucket, "/".join(parts), endpoint)


def location(place: str | Path | S3Url, parameter: str) -> Path | S3Url:
    """Parse a place of a repository, a folder or a URL of S3; raise BadValue if it is empty or another URL."""
    if isinstance(place, S3Url):
        return place
    if place == "":  # pathlib would take it for the current folder
        raise BadValue(parameter, place, "empty", "name a folder, or s3://BUCKET/PREFIX")
    if isinstance(place, str) and place.startswith(SCHEME):
        return parse(place, parameter)
    if "://" in str(place) or str(place).lower().startswith("s3:"):  # or s3:/, which pathlib makes of s3://
        raise BadValue(parameter, place, "neither a folder nor a place in S3", HINT)
    return Path(place)


def for_triton(url: S3Url, endpoint: str) -> str:
    """Return the URL with the client's endpoint, for Triton; raise BadValue if Triton would parse it differently."""
    asked = urlsplit(endpoint)
    host = asked.hostname or ""
    if host.endswith(AWS_HOSTS) and PRIVATE not in host:
        return str(url)
    port = asked.port or PORTS.get(asked.scheme, 0)
    told = str(S3Url(url.bucket, url.prefix, f"{asked.scheme}://{host}:{port}"))
    if asked.path.strip("/") or not ENDPOINT.fullmatch(told.removeprefix(SCHEME)):
        raise BadValue("endpoint", endpoint, "Triton accepts only http://HOST:PORT or https://HOST:PORT")
    if not TRITON_PATH.fullmatch(url.path):
        raise BadValue("prefix", url.path, f"at {endpoint} Triton accepts only letters, digits, '.', '-', '_' and '/'")
    return told
