"""examples/demo.sh, with a program that records its calls."""

import socket
import subprocess
from contextlib import suppress

import pytest
from helpers import ROOT, processes_of

FAKE = """#!/usr/bin/env bash
echo "$@" >> calls
[[ $1 == "$FAILS" ]] && exit 1
if [[ $1 == serve ]]; then
    trap 'echo stopped >> calls; exit 0' TERM
    echo "READY: densenet121" >&2
    echo "http://127.0.0.1:5000  grpc 127.0.0.1:5001  metrics http://127.0.0.1:5002/metrics" >&2
    echo "Ctrl-C stops it" >&2
    while :; do sleep 0.1; done
fi
"""


@pytest.fixture(name="demo")
def _demo(tmp_path):
    """The demo's exit status and the calls that it made."""
    fake = tmp_path / "fake tritongen"
    fake.write_text(FAKE)
    fake.chmod(0o755)

    def demo(fails=""):
        done = subprocess.run([ROOT / "examples" / "demo.sh", fake, "my models"], cwd=tmp_path, check=False,
                              env={"PATH": "/usr/bin:/bin", "FAILS": fails})  # fmt: skip
        assert not processes_of(str(fake))
        return done.returncode, (tmp_path / "calls").read_text().splitlines()

    return demo


def test_the_demo_takes_free_ports_if_its_own_are_taken(demo):
    """The demo asks the server for its ports, measures with a time limit, and stops the server."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a server before may linger
        with suppress(OSError):  # then another program listens there
            taken.bind(("127.0.0.1", 8001))
            taken.listen()
        status, calls = demo()
    assert status == 0
    assert calls == [
        "build --models all --precision fp16 --output my models",
        "serve my models --http-port 0 --grpc-port 0 --metrics-port 0",
        "infer generator/imagenet/assets/chelsea.jpg --model densenet121 --url 127.0.0.1:5001",
        "perf --gpu cpu --batch-sizes 1 --measurement quick --time-limit 2m --url 127.0.0.1:5001",
        "stopped",
    ]


@pytest.mark.parametrize(("fails", "calls"), [("build", 1), ("serve", 2), ("infer", 4), ("perf", 5)])
def test_a_demo_that_fails(demo, fails, calls):
    """The step that fails is the last one, and the server is stopped."""
    status, made = demo(fails)
    assert (status, len(made)) == (1, calls)
    assert ("stopped" in made) == (calls > 2)
