"""S3 on the command line: every failure is one sentence and a hint."""

import socket

import pytest
from helpers import SMALL_CONFIG, small_onnx, write_model
from s3_server import LOCK


@pytest.fixture(name="net")
def _net(tmp_path):
    """A file of one's own, to build."""
    (tmp_path / "net.onnx").write_bytes(small_onnx().SerializeToString())
    return "net.onnx"


COMMANDS = [("build", "--onnx", "net.onnx", "--output"), ("check",), ("serve",)]


@pytest.mark.usefixtures("net")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("changes", "sentence", "hint"),
    [
        ({}, "the specified bucket does not exist", "make the bucket first"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "unable to locate credentials", "set AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, "the config profile (nobody) could not be found", "AWS_PROFILE names one"),
        ({"AWS_DEFAULT_REGION": "a b"}, "provided region_name 'a b' doesn't match a supported format", "AWS_DEFAULT_REGION is one"),
        ({"AWS_ENDPOINT_URL": "nowhere"}, "invalid endpoint: nowhere", "AWS_ENDPOINT_URL is http://"),
    ],
    ids=["no bucket", "no credentials", "no profile", "no region", "no endpoint"],
)  # fmt: skip
def test_errors_of_s3(s3, tritongen, command, changes, sentence, hint):
    """The error names the URL, and there is no traceback."""
    s3.client.delete_bucket(Bucket=s3.bucket)
    ran = tritongen(*command, s3.url(), env={"AWS_EC2_METADATA_DISABLED": "true", **changes})
    assert (ran.status, ran.stdout) == (1, "")
    error, *hints = ran.stderr.splitlines()
    assert error.startswith(f"error: s3://{s3.bucket}/models")
    assert error.endswith(sentence), error
    assert [line.startswith(f"hint: {hint}") for line in hints] == [True]


def test_no_server_answers(s3, tritongen):
    """Nothing listens on the port of the endpoint."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ran = tritongen("check", f"s3://{endpoint}/{s3.bucket}/models")
    assert ran.status == 1
    assert (
        f"error: s3://{endpoint}/{s3.bucket}/models cannot be listed: could not connect to the endpoint" in ran.stderr
    )
    assert "hint: AWS_ENDPOINT_URL names a server" in ran.stderr


@pytest.mark.parametrize(
    "command", [("build", "--output"), ("check",), ("serve",), ("infer", "a.jpg", "-m", "net", "--repository")],
    ids=lambda command: command[0],
)  # fmt: skip
def test_invalid_urls(tritongen, command):
    """An invalid URL is a usage error that names the option."""
    ran = tritongen(*command, "s3://Models/x")
    assert ran.status == 2
    option = command[-1] if len(command) > 1 else "repository"
    assert ran.stderr.startswith(
        f"error: {option} s3://Models/x: 'Models' is not a valid bucket name\nhint: s3://BUCKET/PREFIX"
    )


@pytest.mark.parametrize("more", [(), ("--show", "last", "--html", "report.html")], ids=["measuring", "reporting"])
def test_perf_needs_a_folder(tritongen, more):
    """The hint tells how to measure a repository in S3."""
    ran = tritongen("perf", "--gpu", "cpu", "--repository", "s3://models/prod", *more)
    assert ran.status == 2
    assert ran.stderr == (
        "error: --repository s3://models/prod: perf works with folders only\n"
        "hint: `tritongen serve s3://models/prod` serves it, and perf attaches to that server\n"
    )


def test_check_prints_urls(s3, tritongen, tmp_path):
    """The summary, JSON and annotations have the URL where a folder's have the path."""
    write_model(tmp_path / "models", "net", SMALL_CONFIG.replace("[ 1000 ]", "[ 999 ]"))
    s3.upload(tmp_path / "models")
    ran = tritongen("check", s3.url())
    assert ran.status == 1
    assert ran.stdout.startswith("error: net/config.pbtxt:5 [check-io]\n")
    assert ran.stderr == f"1 model in {s3.url()}: 1 error, 0 warnings\n"
    assert tritongen("check", s3.url(), "--json").json[0]["model"] == "net"
    annotation = tritongen("check", s3.url(), "--github").stdout
    assert annotation.startswith(f"::error file=s3%3A//{s3.bucket}/models/net/config.pbtxt,line=5,title=check-io::")


def test_a_second_build_is_refused(s3, net, tritongen):
    """The error tells when the lock of the first build expires."""
    s3.put(f"models/{LOCK}")
    ran = tritongen("build", "--onnx", net, "--output", s3.url())
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.startswith(
        f"error: another build writes to {s3.url()}\nhint: wait for its end; if it was killed,"
    )
    assert s3.written() == []


def test_build_prints_urls(s3, net, tritongen):
    """The text and the JSON have the URL where a folder's have the path."""
    ran = tritongen("build", "--onnx", net, "--output", s3.url(), "--json")
    assert ran.status == 0, ran.stderr
    assert ran.json["models"][0]["folder"] == s3.url("models/net")
    again = tritongen("build", "--onnx", net, "--output", s3.url())
    assert "net: up to date" in again.stderr
    assert f"1 verified in {s3.url()} (1 up to date): config.pbtxt is fp16, configs/ has t4-fp16," in again.stderr
    dry = tritongen("build", "--onnx", net, "--output", s3.url(), "--dry-run", "--force")
    assert "a rebuild was forced" in dry.stdout
