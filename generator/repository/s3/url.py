"""`s3://bucket/prefix`: where a repository in S3 is, read from what users write, and told to Triton."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from generator.errors import BadValue

SCHEME = "s3://"
# Of a server that is not AWS's, as Triton has it: core, src/filesystem/implementations/s3.h.
ENDPOINT = re.compile(r"(?P<endpoint>https?://[0-9a-zA-Z.-]+:[0-9]{1,5})/(?P<rest>.*)", re.DOTALL)
TRITON_PATH = re.compile(r"[0-9a-zA-Z._/-]*")
# AWS, "General purpose buckets naming rules".
BUCKET = re.compile(r"[0-9a-z][0-9a-z.-]{1,61}[0-9a-z]")
PRIVATE = ".vpce."  # an endpoint of AWS's in somebody's network, which Triton has to be told
AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
PORTS = {"http": 80, "https": 443}
HINT = "s3://BUCKET/PREFIX, or s3://http://HOST:PORT/BUCKET/PREFIX for a server that is not AWS's"


@dataclass(frozen=True)
class S3Url:
    """A bucket and what its keys begin with, without slashes at its ends; `endpoint` where the URL names one."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None

    def __str__(self) -> str:
        """As it is written; Triton takes the same."""
        start = f"{self.endpoint}/" if self.endpoint else ""
        return f"{SCHEME}{start}{self.path}"

    def __truediv__(self, name: str) -> S3Url:
        """What is below it."""
        return S3Url(self.bucket, f"{self.prefix}/{name}" if self.prefix else name, self.endpoint)

    @property
    def path(self) -> str:
        """`bucket/prefix`, as fsspec takes it."""
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    @property
    def parent(self) -> S3Url:
        """What it is in."""
        return S3Url(self.bucket, self.prefix.rpartition("/")[0], self.endpoint)


def parse(text: str, parameter: str) -> S3Url:
    """The URL in a text that begins with s3://.

    Raises:
        BadValue: it names no place that a repository can be at; `parameter` is where it was given.
    """
    rest, endpoint = text.removeprefix(SCHEME), None
    if "://" in rest:
        matched = ENDPOINT.fullmatch(rest)
        if matched is None:
            raise BadValue(parameter, text, "names no server", HINT)
        rest, endpoint = matched["rest"], matched["endpoint"]
    bucket, *parts = rest.rstrip("/").split("/")
    if not BUCKET.fullmatch(bucket):
        raise BadValue(parameter, text, f"{bucket!r} is not a valid bucket name", HINT)
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise BadValue(parameter, text, "a part of its path is empty or not a valid folder name", HINT)
    return S3Url(bucket, "/".join(parts), endpoint)


def location(place: str | Path | S3Url, parameter: str) -> Path | S3Url:
    """A folder, or a place in S3, by what is written.

    Raises:
        BadValue: it is empty, or looks like a URL and is no such place.
    """
    if isinstance(place, S3Url):
        return place
    if place == "":  # which pathlib takes for the current folder
        raise BadValue(parameter, place, "empty", "name a folder, or s3://BUCKET/PREFIX")
    if isinstance(place, str) and place.startswith(SCHEME):
        return parse(place, parameter)
    if "://" in str(place) or str(place).lower().startswith("s3:"):  # as well what pathlib makes of s3://
        raise BadValue(parameter, place, "neither a folder nor a place in S3", HINT)
    return Path(place)


def for_triton(url: S3Url, endpoint: str) -> str:
    """The URL as Triton takes it; it reads no setting of an endpoint, so that one has to be in the URL.

    Args:
        url: where the repository is.
        endpoint: what a client of this environment asks.

    Raises:
        BadValue: Triton would take the URL for another.
    """
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
