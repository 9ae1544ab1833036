"""Random weights: the same everywhere, and of a trained net's scale."""

import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from generator.imagenet import images
from generator.networks import select
from generator.types import Preprocessing
from generator.weights.random_init import random_network, rounded

HASH = """
import hashlib, sys
from generator.networks import select
from generator.weights.random_init import random_network
module, _ = random_network(select([sys.argv[1]])[0], seed=3)
print(hashlib.sha256(b"".join(t.numpy().tobytes() for t in module.state_dict().values())).hexdigest())
"""


def test_the_thread_count_changes_no_byte():
    """The same seed gives the same bytes on 1 and 5 threads."""
    hashes = {
        subprocess.run(
            [sys.executable, "-c", HASH, "dpn68"],
            cwd=ROOT,
            env={"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, 5)
    }
    assert len(hashes) == 1


def test_seeds_and_networks_differ():
    """Another seed, or another network, gives other numbers."""
    dpn, other = select(["dpn68"])[0], select(["densenet121"])[0]
    stems = [
        random_network(dpn, 0)[0].features.conv1_1.conv.weight.flatten()[:10],
        random_network(dpn, 1)[0].features.conv1_1.conv.weight.flatten()[:10],
        random_network(other, 0)[0].features.conv0.weight.flatten()[:10],
    ]
    normalised = [stem / stem.std() for stem in stems]
    assert all((one - two).abs().max() > 0.1 for i, one in enumerate(normalised) for two in normalised[:i])


@pytest.mark.parametrize("name", ["densenet264", "dpn131"])
def test_logits_keep_a_trained_nets_scale(name):
    """In the deepest nets logits of photographs and noise stay in the units, and depend on the image."""
    module, weights = random_network(select([name])[0], 0)
    photographs = [images.tensor(images.load(path), Preprocessing()) for path in images.PHOTOGRAPHS]
    batch = torch.cat(
        [torch.tensor(photographs[0])[None], torch.tensor(photographs[1])[None], torch.randn(2, 3, 224, 224)]
    )
    with torch.no_grad():
        logits = module(batch)
    assert weights.label == "random (seed 0)"
    assert weights.random
    assert 0.1 < logits.std() < 10
    assert logits.abs().max() < 100
    assert logits.std(dim=0).mean() > 0.05


def test_rounding_keeps_twelve_bits():
    """The last bits are gone, the value is not."""
    values = torch.tensor([0.0, 1.0, 1 / 3, -1234.5678, 1e-20])
    assert torch.allclose(rounded(values), values, rtol=2**-12, atol=0)
    assert torch.equal(rounded(values * (1 + 1e-7)), rounded(values))


def test_no_two_batch_norms_are_alike():
    """Of equal ones on one input a simplifier leaves one, and the random network would be faster than a trained one."""
    module, _ = random_network(select(["dpn68"])[0], 0)
    norms = [
        layer.weight.detach().numpy().tobytes() for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)
    ]
    assert len(norms) == len(set(norms)) == 72
