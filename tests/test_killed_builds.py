"""Builds that are killed at any moment: every model is the old one, the new one, or not there."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress

import onnxruntime
import pytest
from helpers import contents
from s3_server import LOCK
from test_side_by_side import BUILD_FOUR, script
from tiny_networks import FOUR, of

import tritongen

KILLS = 50
KILLS_IN_S3 = 8
NEW = BUILD_FOUR.replace("output=", "seed=2, output=")


@pytest.fixture(name="undisturbed_s", scope="module")
def _undisturbed_s(tmp_path_factory):
    """How long a build takes here."""
    begin = time.monotonic()
    script(NEW, tmp_path_factory.mktemp("timed") / "models", 2).communicate()
    return time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["nothing there", "models there"])
def test_killed_at_random_moments(tmp_path, states, undisturbed_s, first):
    """SIGKILL to the group; then whatever is there loads, and the next build makes the same bytes and cleans up."""
    old, new = map(contents, states)
    moments = random.Random(0)  # noqa: S311 (moments, no keys)
    killed, seen = 0, set()
    for number in range(KILLS // 2):
        repository = tmp_path / str(number) / "models"
        repository.parent.mkdir()
        if not first:
            shutil.copytree(states[0], repository)
        build = script(NEW, repository, 2, start_new_session=True)
        after_s = undisturbed_s * moments.uniform(0.3, 1)
        time.sleep(after_s)
        os.killpg(build.pid, signal.SIGKILL)
        build.communicate()
        killed += build.returncode == -signal.SIGKILL
        found = contents(repository) if repository.exists() else {}
        for network in FOUR:
            model = of(found, network)
            assert model in ([{}, of(new, network)] if first else [of(old, network), of(new, network)]), (
                number,
                after_s,
            )
            if model:
                onnxruntime.InferenceSession(model[f"{network.name}/1/model.onnx"])
        seen.add(sum(of(found, network) == of(new, network) for network in FOUR))
        assert tritongen.build(FOUR, output=repository, seed=2, jobs=1).failed == {}
        assert contents(repository) == new
        assert [path.name for path in repository.parent.iterdir()] == ["models"]
    assert killed > KILLS // 4  # a build that had ended would tell nothing
    assert len(seen) > 1  # some were killed between two models


IN_S3 = NEW.replace(
    "import sys,",
    "import sys, generator.repository.s3.lease; generator.repository.s3.lease.LEASE_S = 3.0; generator.repository.s3.lease.RENEWED_EVERY_S = 0.3; import",
)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["nothing there", "models there"])
def test_killed_while_it_writes_to_s3(s3, tmp_path, states, monkeypatch, first):
    """Each object is the old or the new one, a config stands only where all that it names does; then as above."""
    old, new = map(contents, states)
    monkeypatch.setattr("generator.repository.s3.lease.LEASE_S", 3.0)
    monkeypatch.setattr("generator.repository.s3.lease.RENEWED_EVERY_S", 0.3)
    moments = random.Random(1)  # noqa: S311 (moments, no keys)
    seen = set()
    for number in range(KILLS_IN_S3 // 2):
        prefix = f"models-{number}"
        if not first:
            s3.upload(states[0], prefix)
        s3.requests.clear()
        build = script(IN_S3, s3.url(prefix), 1, start_new_session=True)
        # Uploads are the last tenth of a build: it is killed some objects after it has begun with them.
        objects = moments.randrange(len(new))
        while build.poll() is None and len(s3.written()) <= objects:
            time.sleep(0.005)
        with suppress(ProcessLookupError):  # the last objects come quickly
            os.killpg(build.pid, signal.SIGKILL)
        build.communicate()
        found = {name: content for name, content in s3.contents(prefix).items() if name != LOCK}
        assert all(content in (old.get(name), new[name]) for name, content in found.items())
        for network in FOUR:
            model = of(found, network)
            if first and f"{network.name}/config.pbtxt" in model:
                assert model == of(new, network)
            if f"{network.name}/1/model.onnx" in model:
                onnxruntime.InferenceSession(model[f"{network.name}/1/model.onnx"])
        seen.add(sum(content == new[name] for name, content in found.items()))
        time.sleep(4)  # its lock is void then
        assert tritongen.build(FOUR, output=s3.url(prefix), seed=2, jobs=1).failed == {}
        assert s3.contents(prefix) == new
        assert not list((tmp_path / "cache" / "tritongen" / "staging").iterdir())
    assert len(seen) > KILLS_IN_S3 // 4
