"""Fetching weights: from a server of this test's own on loopback, never from a publisher."""

import hashlib
import socket
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request

import pytest
from helpers import run_program

from generator.errors import BadValue, FetchFailed
from generator.networks import select
from generator.weights.fetch import Redirects, fetch
from generator.weights.publishers import Remote, remote

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Publisher(ThreadingHTTPServer):
    """A server that keeps what it was asked, and can drop a connection in the middle."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.asked, self.drop_after, self.linked = CONTENT, [], None, None
        self.tags = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """GET with ETag, Range and If-Range; /hub redirects as the Hugging Face hub does."""

    def log_message(self, *_):
        """Nothing."""

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
        body, status = server.content, 200
        if self.headers.get("Range") and self.headers.get("If-Range") == etag:
            body, status = body[int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) :], 206
            if not body:
                self.send_error(416)
                return
        self.send_response(status)
        if server.tags:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.drop_after is None else body[: server.drop_after])
        server.drop_after = None


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    """Whatever else is connected to fails the test."""
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
    """Fetch it as a publisher's file."""
    return fetch("someone", Remote(server.url + path, "weights.pth", prefix))


def test_fetched_once(server, tmp_path):
    """The second time it is in the cache; no part of it is left over."""
    assert get(server).read_bytes() == CONTENT
    assert get(server, prefix=DIGEST[:8]).read_bytes() == CONTENT
    assert len(server.asked) == 1
    kept = sorted(path.name for path in (tmp_path / "tritongen" / "weights" / "someone").iterdir())
    assert kept == [".weights.pth.lock", "weights.pth", "weights.pth.sha256"]


def test_goes_on_where_it_stopped(server):
    """A dropped connection is one sentence; the next attempt asks for the rest only."""
    server.drop_after = 300_000
    with pytest.raises(FetchFailed, match="the connection ended 748576 bytes early") as caught:
        get(server)
    assert caught.value.hint == "the same command goes on where it stopped"
    assert get(server).read_bytes() == CONTENT
    assert server.asked == [("/file", None), ("/file", "bytes=300000-")]


def test_a_file_that_changed_is_begun_anew(server):
    """What was there of the old one is not mixed into the new one."""
    server.drop_after = 300_000
    with pytest.raises(FetchFailed):
        get(server)
    server.content = CONTENT[::-1]
    assert get(server).read_bytes() == CONTENT[::-1]


def test_a_server_that_names_no_version_is_begun_anew(server):
    """Nobody could tell whether the rest belongs to what is there."""
    server.tags, server.drop_after = False, 300_000
    with pytest.raises(FetchFailed):
        get(server)
    assert get(server).read_bytes() == CONTENT
    assert [asked[1] for asked in server.asked] == [None, None]


def test_nothing_is_left_to_fetch(server, tmp_path):
    """All of it came, and the process ended before it said so: the next attempt but one has it."""
    server.drop_after = len(CONTENT) - 1
    with pytest.raises(FetchFailed, match="the connection ended 1 bytes early"):
        get(server)
    (partial,) = tmp_path.rglob("*.part")
    partial.write_bytes(CONTENT)
    with pytest.raises(FetchFailed, match="the server answers 416") as caught:
        get(server)
    assert caught.value.hint == "the same command goes on where it stopped"
    assert get(server).read_bytes() == CONTENT


def test_the_published_digest_is_held_to(server, tmp_path):
    """The one of torchvision is in the name, the hub's comes with the redirect; what differs is not kept."""
    with pytest.raises(FetchFailed, match=r"its SHA-256 is .+, not 00000000"):
        get(server, prefix="00000000")
    server.linked = "0" * 64
    with pytest.raises(FetchFailed, match=r"its SHA-256 is .+, not 0{64}"):
        get(server, "/hub")
    assert not list(tmp_path.rglob("weights.pth*"))
    server.linked = DIGEST
    assert get(server, "/hub").read_bytes() == CONTENT


def test_the_first_digest_is_held_to(server):
    """Where none is published: an altered file, and another one in place of a deleted one, are refused."""
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


def test_two_at_once_fetch_once(server):
    """The second waits for the first."""
    threads = [threading.Thread(target=get, args=(server,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 1


def test_no_server_and_no_file(server):
    """One sentence with what to do."""
    with pytest.raises(FetchFailed, match="/nothing could not be fetched: the server answers 404"):
        get(server, "/nothing")
    with pytest.raises(FetchFailed, match=r"could not be fetched: .*refused") as caught:
        fetch("someone", Remote("http://127.0.0.1:9/x", "x.pth"))
    assert caught.value.hint == "fetch it where there is a network, and give the file with --weights"


def test_no_server_on_the_command_line(tmp_path):
    """Exit status 1, one sentence, a hint, no repository."""
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path), "no_proxy": "*"}
    ran = run_program("build", "--models", "dpn68", "--weights", "timm", cwd=tmp_path, env=env)
    assert (ran.status, ran.stdout) == (1, "")
    address = "http://127.0.0.1:9/timm/dpn68.mx_in1k/resolve/main/model.safetensors"
    assert f"error: {address} could not be fetched: [Errno 111] Connection refused" in ran.stderr
    assert "hint: fetch it where there is a network, and give the file with --weights" in ran.stderr
    assert not (tmp_path / "model_repository").exists()


def test_no_redirect_leaves_https():
    """Nor is anything fetched but from the web."""
    with pytest.raises(FetchFailed, match="it redirects to http://evil, which is not https"):
        Redirects().redirect_request(Request("https://hub/x"), None, 302, "", Message(), "http://evil")
    with pytest.raises(FetchFailed, match="it is no web address"):
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
def test_addresses(publisher, name, url, prefix, monkeypatch):
    """Where each publisher keeps its files; the hub's mirror is honoured."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    found = remote(publisher, *select([name]))
    assert (found.url, found.sha256_prefix) == (url, prefix)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert remote(publisher, *select([name])).url == url.replace("https://huggingface.co", "https://mirror.example")


def test_what_nobody_publishes():
    """Said before anything is fetched."""
    with pytest.raises(BadValue, match="weights=timm: timm has no densenet264"):
        remote("timm", *select(["densenet264"]))
    with pytest.raises(BadValue, match="weights=torchvision: torchvision has no dpn68"):
        remote("torchvision", *select(["dpn68"]))
