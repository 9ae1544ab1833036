"""Builds that are killed at any moment: every model is the old one, the new one, or not there."""

import os
import random
import shutil
import signal
import time

import onnxruntime
import pytest
from test_side_by_side import BUILD_FOUR, contents, script
from tiny_networks import FOUR

import generator

KILLS = 50
NEW = BUILD_FOUR.replace("output=", "seed=2, output=")


@pytest.fixture(name="states", scope="module")
def _states(tmp_path_factory):
    """The four networks' files as they were, and as an undisturbed build leaves them."""
    folder = tmp_path_factory.mktemp("states")
    for name, seed in (("old", 1), ("new", 2)):
        assert generator.build(FOUR, output=folder / name, seed=seed, jobs=1).failed == {}
    return folder / "old", folder / "new"


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
        assert generator.build(FOUR, output=repository, seed=2, jobs=1).failed == {}
        assert contents(repository) == new
        assert [path.name for path in repository.parent.iterdir()] == ["models"]
    assert killed > KILLS // 4  # a build that had ended would tell nothing
    assert len(seen) > 1  # some were killed between two models


def of(files, network):
    """A model's files."""
    return {name: content for name, content in files.items() if name.startswith(f"{network.name}/")}
