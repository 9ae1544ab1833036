"""The table of networks, and its torch modules."""

import hashlib
import json

import pytest
import torch
from helpers import DATA

from generator.errors import UnknownName
from generator.networks import NETWORKS, select

STATE_DICTS = json.loads((DATA / "state_dicts.json").read_text())


@pytest.mark.parametrize("name", STATE_DICTS)
def test_state_dict_matches_the_publisher(name):
    """Names, shapes and order match torchvision's (DenseNet) and timm's (DPN) state dicts."""
    lines = state_dict_lines(select([name])[0].module())
    if (DATA / f"{name}-state-dict.txt").exists():
        assert lines == (DATA / f"{name}-state-dict.txt").read_text()
    assert hashlib.sha256(lines.encode()).hexdigest() == STATE_DICTS[name]["sha256"]


def state_dict_lines(module):
    """Return one line per tensor: its name and shape."""
    return "".join(f"{key} {'x'.join(map(str, value.shape))}\n" for key, value in module.state_dict().items())


def test_state_dict_loads_strictly():
    """A module that loads another's state dict with strict=True gives the same answers."""
    network = select(["dpn68"])[0]
    one, other = (network.module().to_empty(device="cpu") for _ in range(2))
    for value in one.state_dict().values():
        value.copy_(torch.rand_like(value, dtype=torch.float32).add(0.5))
    other.load_state_dict(one.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(one(image), other(image))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["all"], [network.name for network in NETWORKS]),
        (["DPN92"], ["dpn92"]),
        (["dpn9*", "DenseNet121", "dpn92"], ["densenet121", "dpn92", "dpn98"]),
        (["densenet1?1"], ["densenet121", "densenet161"]),
    ],
)
def test_select(patterns, names):
    """Names in any letter case, globs and `all` select in the table's order, each network once."""
    assert [network.name for network in select(patterns)] == names


def test_unknown_name_suggests_the_nearest():
    """The hint for a typo is the nearest name."""
    with pytest.raises(UnknownName, match="there is no network named 'densnet121'") as caught:
        select(["densnet121"])
    assert caught.value.hint == "did you mean 'densenet121'?"
