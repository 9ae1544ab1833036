"""Downloads of weights, from a server on loopback and never from a publisher."""

import hashlib
import re
import socket
import threading
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request

import pytest
from helpers import run_program

from generator.errors import BadValue, FetchFailed
from generator.networks import select
from generator.weights.files import Redirects, Remote, fetch, remote

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Publisher(ThreadingHTTPServer):
    """A server that records requests, and can drop a connection in the middle."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.asked, self.drop_after, self.linked = CONTENT, [], None, None
        self.tags = True
        self.headers, self.status = {}, None  # sent in place of the right ones

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers GET with ETag, Range and If-Range; /hub redirects like the Hugging Face hub."""

    def log_message(self, *_):
        """Log nothing."""

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if self.path == "/hub":
            self.send_response(302)
            self.send_header("Location", f"{server.url}/file")
            self.send_header("X-Linked-ETag", f'"{server.linked}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path != "/file":
            self.send_error(404)
            return
        etag = f'"{hashlib.sha256(server.content).hexdigest()[:8]}"'
        body, status, headers = server.content, 200, {}
        if self.headers.get("Range") and self.headers.get("If-Range") == etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            body, status = body[start:], 206
            headers["Content-Range"] = f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            if not body:
                self.send_error(416)
                return
        headers["Content-Length"] = str(len(body))
        if server.tags:
            headers["ETag"] = etag
        self.send_response(server.status or status)
        for name, value in {**headers, **server.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError):  # the client has given up
            self.wfile.write(body if server.drop_after is None else body[: server.drop_after])
        server.drop_after = None


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    """Fail a test that connects to another machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] == "127.0.0.1", f"a test connects to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(name="server")
def _server(tmp_path, monkeypatch):
    """A publisher on loopback, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server, path="/file", prefix=""):
    """Download a file as a publisher's."""
    return fetch("someone", Remote(server.url + path, "weights.pth", prefix))


def test_file_is_downloaded_once(server, tmp_path):
    """The second call finds the file in the cache; no partial file remains."""
    assert get(server).read_bytes() == CONTENT
    assert get(server, prefix=DIGEST[:8]).read_bytes() == CONTENT
    assert len(server.asked) == 1
    kept = sorted(path.name for path in (tmp_path / "tritongen" / "weights" / "someone").iterdir())
    assert kept == [".weights.pth.lock", "weights.pth", "weights.pth.sha256"]


def test_download_resumes(server):
    """A dropped connection is an error; the next attempt requests the rest only."""
    server.drop_after = 300_000
    with pytest.raises(FetchFailed, match="the connection ended 748576 bytes early") as caught:
        get(server)
    assert caught.value.hint == "run the same command again to continue"
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [("/file", None), ("/file", "bytes=300000-")]


def test_changed_file_is_downloaded_from_the_beginning(server):
    """The part of the old file is not mixed into the new one."""
    server.drop_after = 300_000
    with pytest.raises(FetchFailed):
        get(server)
    server.content = CONTENT[::-1]
    assert get(server).read_bytes() == CONTENT[::-1]


def test_download_without_etag_starts_from_the_beginning(server):
    """Without an ETag, the rest may belong to another version."""
    server.tags, server.drop_after = False, 300_000
    with pytest.raises(FetchFailed):
        get(server)
    assert get(server).read_bytes() == CONTENT
    assert [asked[1] for asked in server.asked] == [None, None]


def test_complete_partial_file_recovers(server, tmp_path):
    """If a process ended just after the last byte, the second attempt from then succeeds."""
    server.drop_after = len(CONTENT) - 1
    with pytest.raises(FetchFailed, match="the connection ended 1 bytes early"):
        get(server)
    (partial,) = tmp_path.rglob("*.part")
    partial.write_bytes(CONTENT)
    with pytest.raises(FetchFailed, match="the server answers 416") as caught:
        get(server)
    assert caught.value.hint == "run the same command again to continue"
    assert get(server).read_bytes() == CONTENT


def test_published_digest_is_checked(server, tmp_path):
    """Torchvision's digest is in the file's name, the hub's comes with a redirect; a wrong file is deleted."""
    with pytest.raises(FetchFailed, match=r"its SHA-256 is .+, not 00000000"):
        get(server, prefix="00000000")
    server.linked = "0" * 64
    with pytest.raises(FetchFailed, match=r"its SHA-256 is .+, not 0{64}"):
        get(server, "/hub")
    assert not list(tmp_path.rglob("weights.pth*"))
    server.linked = DIGEST
    assert get(server, "/hub").read_bytes() == CONTENT


def test_digest_of_the_first_download_is_checked(server):
    """Without a published digest, a changed file and a different new download are refused."""
    path = get(server)
    path.write_bytes(CONTENT[1:])
    with pytest.raises(FetchFailed, match=f"not {DIGEST}"):
        get(server)
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(FetchFailed, match=f"not {DIGEST}") as caught:
        get(server)
    assert "the .sha256 beside it" in caught.value.hint
    server.content = CONTENT
    assert get(server).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", DIGEST[:63].encode(), DIGEST.upper().encode()])
def test_a_damaged_record_is_refused(server, tmp_path, content):
    """Only 64 hex digits are a record: an empty one would fit every file, also one of another publisher."""
    path = get(server)
    (record,) = tmp_path.rglob("*.sha256")
    record.write_bytes(content)
    path.write_bytes(b"another file")
    with pytest.raises(FetchFailed, match="it is not a SHA-256 of 64 hex digits"):
        get(server, prefix=DIGEST[:8])


def test_both_digests_are_checked(server, tmp_path):
    """A record of another file does not replace the publisher's digest."""
    path = get(server)
    path.write_bytes(b"another file")
    (record,) = tmp_path.rglob("*.sha256")
    record.write_text(hashlib.sha256(b"another file").hexdigest())
    with pytest.raises(FetchFailed, match=f"not {DIGEST[:8]}"):
        get(server, prefix=DIGEST[:8])


def test_file_without_a_record_is_downloaded_again(server, tmp_path):
    """A cached file whose digest is not recorded is not used."""
    path = get(server)
    path.write_bytes(b"another file")
    (record,) = tmp_path.rglob("*.sha256")
    record.unlink()
    assert get(server).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "headers", "why"),
    [
        (206, {}, "the server sent a part of the file that was not requested"),
        (206, {"Content-Range": "bytes 5-9/10"}, "the server sent a part of the file that was not requested"),
        (200, {"Content-Length": "many"}, "the server sent the Content-Length 'many'"),
        (200, {"Content-Length": "-1"}, "the server sent the Content-Length '-1'"),
        (200, {"Content-Length": str(1 << 40)}, "it is larger than 1024 MiB, as no weights file is"),
        (302, {"Location": "ftp://127.0.0.1/x"}, "it redirects to ftp://127.0.0.1/x, which is not http"),
        (302, {"Location": "http://[bad/x"}, "Invalid IPv6 URL"),
        (302, {"Location": "/file"}, "the server answers 302"),
    ],
)
def test_a_server_that_misbehaves(server, tmp_path, status, headers, why):
    """One sentence, and nothing is kept that the next attempt would use."""
    server.status, server.headers = status, headers
    with pytest.raises(FetchFailed, match=re.escape(why)):
        get(server)
    assert not list(tmp_path.rglob("*.part"))
    server.status, server.headers = None, {}
    assert get(server).read_bytes() == CONTENT


def test_an_endless_file_is_given_up(server, tmp_path, monkeypatch):
    """Without a Content-Length, the size of what comes is bounded too."""
    monkeypatch.setattr("generator.weights.files.LARGEST_BYTES", len(CONTENT) - 1)
    server.headers = {"Content-Length": None}
    with pytest.raises(FetchFailed, match="it is larger than"):
        get(server)
    assert not list(tmp_path.rglob("*.part"))


def test_a_partial_file_with_a_damaged_tag(server, tmp_path):
    """A tag that is no ETag is not sent: the download begins anew."""
    server.drop_after = 300_000
    with pytest.raises(FetchFailed):
        get(server)
    (tag,) = tmp_path.rglob("*.etag")
    tag.write_bytes(b"\xff\r\nX-Injected: 1")
    assert get(server).read_bytes() == CONTENT
    assert server.asked[-1] == ("/file", None)


def test_concurrent_calls_download_once(server):
    """Later calls wait for the first."""
    threads = [threading.Thread(target=get, args=(server,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1


def test_missing_server_and_missing_file(server):
    """The error says what is wrong and what to do."""
    with pytest.raises(FetchFailed, match="/nothing could not be fetched: the server answers 404"):
        get(server, "/nothing")
    with pytest.raises(FetchFailed, match=r"could not be fetched: .*refused") as caught:
        fetch("someone", Remote("http://127.0.0.1:9/x", "x.pth"))
    assert caught.value.hint == "download it on a machine with network access, and give the file with `weights`"


def test_missing_server_on_the_command_line(tmp_path):
    """The build exits with 1, an error and a hint, and creates no repository."""
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path), "no_proxy": "*"}
    ran = run_program("build", "--models", "dpn68", "--weights", "timm", cwd=tmp_path, env=env)
    assert (ran.status, ran.stdout) == (1, "")
    address = "http://127.0.0.1:9/timm/dpn68.mx_in1k/resolve/main/model.safetensors"
    assert f"error: {address} could not be fetched: [Errno 111] Connection refused" in ran.stderr
    assert "hint: download it on a machine with network access, and give the file with --weights" in ran.stderr
    assert not (tmp_path / "model_repository").exists()


def test_redirects_stay_on_https():
    """A redirect to http and a file URL are refused."""
    with pytest.raises(FetchFailed, match="it redirects to http://evil, which is not https"):
        Redirects().redirect_request(Request("https://hub/x"), None, 302, "", Message(), "http://evil")
    with pytest.raises(FetchFailed, match="it is not a web address"):
        fetch("someone", Remote("file:///etc/passwd", "x.pth"))


@pytest.mark.parametrize(
    ("publisher", "name", "url", "prefix"),
    [
        ("torchvision", "densenet121", "https://download.pytorch.org/models/densenet121-a639ec97.pth", "a639ec97"),
        ("timm", "densenet161", "https://huggingface.co/timm/densenet161.tv_in1k/resolve/main/model.safetensors", ""),
        ("timm", "dpn107", "https://huggingface.co/timm/dpn107.mx_in1k/resolve/main/model.safetensors", ""),
        (
            "paddleclas",
            "densenet264",
            "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/DenseNet264_pretrained.pdparams",
            "",
        ),
    ],
)
def test_addresses_of_published_files(publisher, name, url, prefix, monkeypatch):
    """Each publisher has its address; HF_ENDPOINT replaces the hub's."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = remote(publisher, *select([name]))
    assert (found.url, found.sha256_prefix) == (url, prefix)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert remote(publisher, *select([name])).url == url.replace("https://huggingface.co", "https://mirror.example")


def test_unpublished_weights_are_an_error():
    """The error comes before any download."""
    with pytest.raises(BadValue, match="weights=timm: timm has no densenet264"):
        remote("timm", *select(["densenet264"]))
    with pytest.raises(BadValue, match="weights=torchvision: torchvision has no dpn68"):
        remote("torchvision", *select(["dpn68"]))
