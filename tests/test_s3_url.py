"""Where a repository in S3 is: what users write, what Triton is told, what is refused."""

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
def test_what_users_write(text):
    """A bucket, a prefix, a server; written again as Triton takes it."""
    assert location(text, "output") == GOOD[text]
    assert location(str(GOOD[text]), "output") == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_place(text):
    """One sentence with the option and the value."""
    with pytest.raises(BadValue) as caught:
        location(text, "output")
    assert str(caught.value).startswith(f"output={printable(text)}: ")
    assert BAD[text] in str(caught.value)
    assert "s3://BUCKET/PREFIX" in caught.value.hint


@pytest.mark.parametrize(
    "place", ["S3://models/a", "gs://models/a", "s3:/models/a", "s3:models", Path("s3://models/a")], ids=str
)
def test_what_is_neither_a_folder_nor_s3(place):
    """It would make a folder of that name; pathlib drops a slash."""
    with pytest.raises(BadValue, match=r"^output=\S+: neither a folder nor a place in S3$"):
        location(place, "output")


def test_the_parts_of_a_place():
    """Below it, and above."""
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
def test_what_triton_is_told(case):
    """It reads no setting of an endpoint: one that is not AWS's is in the URL, with its port."""
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
def test_what_triton_would_take_for_another(url, endpoint, why):
    """Its pattern would not match, and it would take `http:` for the bucket."""
    with pytest.raises(BadValue, match=why):
        for_triton(location(url, "repository"), endpoint)
