"""URLs of repositories in S3: parsing, the URL that Triton needs, and refused URLs."""

from pathlib import Path

import pytest

from generator.errors import BadValue, printable
from generator.repository.s3.url import S3Url, for_triton, location

AWS = "https://s3.eu-central-1.amazonaws.com"
GOOD = {
    "s3://models": S3Url("models"),
    "s3://models/": S3Url("models"),
    "s3://models/a/b c/": S3Url("models", "a/b c"),
    "s3://my.bucket-1/team=vision/2026": S3Url("my.bucket-1", "team=vision/2026"),
    "s3://http://localhost:9000/models/prod": S3Url("models", "prod", "http://localhost:9000"),
    "s3://https://minio.example:443/models": S3Url("models", "", "https://minio.example:443"),
}
BAD = {
    "s3://": "'' is not a valid bucket name",
    "s3:///models": "'' is not a valid bucket name",
    "s3://Models/a": "'Models' is not a valid bucket name",
    "s3://ab": "'ab' is not a valid bucket name",
    "s3://models//a": "a part of its path is empty",
    "s3://models/../other": "a part of its path is empty or not",
    "s3://models/a\nb": "a part of its path",
    "s3://http://localhost/models": "names no server",
    "s3://ftp://localhost:21/models": "names no server",
    "s3://http://[::1]:9000/models": "names no server",
    "s3://http://me:secret@host:9000/models": "names no server",
}


@pytest.mark.parametrize("text", GOOD)
def test_valid_urls(text):
    """A bucket, a prefix and a server are parsed and written as Triton takes them."""
    assert location(text, "output") == GOOD[text]
    assert location(str(GOOD[text]), "output") == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_invalid_urls(text):
    """The error names the option and the value."""
    with pytest.raises(BadValue) as caught:
        location(text, "output")
    assert str(caught.value).startswith(f"output={printable(text)}: ")
    assert BAD[text] in str(caught.value)
    assert "s3://BUCKET/PREFIX" in caught.value.hint


@pytest.mark.parametrize(
    "place", ["S3://models/a", "gs://models/a", "s3:/models/a", "s3:models", Path("s3://models/a")], ids=str
)
def test_urls_of_other_kinds(place):
    """Other URLs are refused; as paths they would make folders of that name."""
    with pytest.raises(BadValue, match=r"^output=\S+: neither a folder nor a place in S3$"):
        location(place, "output")


def test_paths_of_a_url():
    """The URLs below and above a place."""
    url = S3Url("models", "a", "http://localhost:9000")
    assert str(url / "net" / "1") == "s3://http://localhost:9000/models/a/net/1"
    assert (url / "net").parent == url
    assert S3Url("models") / "net" == S3Url("models", "net")
    assert S3Url("models", "net").parent == S3Url("models")


TOLD = {
    ("s3://models/a b", AWS): "s3://models/a b",
    ("s3://models/a", "https://s3.cn-north-1.amazonaws.com.cn"): "s3://models/a",
    ("s3://models/a", "http://localhost:9000"): "s3://http://localhost:9000/models/a",
    ("s3://models", "https://vpce-1.s3.us-east-1.vpce.amazonaws.com"): (
        "s3://https://vpce-1.s3.us-east-1.vpce.amazonaws.com:443/models"
    ),
    ("s3://models", "https://minio.example"): "s3://https://minio.example:443/models",
    ("s3://models", "http://minio.example/"): "s3://http://minio.example:80/models",
    ("s3://http://localhost:9000/models/a", "http://localhost:9000"): "s3://http://localhost:9000/models/a",
}


@pytest.mark.parametrize("case", TOLD, ids=str)
def test_the_url_for_triton(case):
    """Triton reads no endpoint setting: the URL has the server and port of an endpoint other than AWS's."""
    url, endpoint = case
    assert for_triton(location(url, "repository"), endpoint) == TOLD[case]


@pytest.mark.parametrize(
    ("url", "endpoint", "why"),
    [
        ("s3://models/a", "http://[::1]:9000", "Triton accepts only http://HOST:PORT"),
        ("s3://models/a", "https://minio.example/s3", "Triton accepts only http://HOST:PORT"),
        ("s3://models/a b", "http://localhost:9000", "at http://localhost:9000 Triton accepts only letters"),
    ],
)
def test_urls_that_triton_misreads(url, endpoint, why):
    """Triton's pattern would not match, or would take `http:` for the bucket."""
    with pytest.raises(BadValue, match=why):
        for_triton(location(url, "repository"), endpoint)
