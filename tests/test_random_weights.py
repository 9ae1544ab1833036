"""Random weights: the same everywhere, and of a trained net's scale."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import ROOT
from tiny_networks import SMALL_DPN, TINY_DENSENET

from generator.graph.export import export
from generator.graph.simplify import simplify
from generator.imagenet import images
from generator.networks import INPUT, select
from generator.networks.architectures import DenseNetShape
from generator.networks.types import Network
from generator.types import Preprocessing
from generator.weights.random_init import calibrate, initialise, integers, pink_noise, random_network

# Each sums in another order: with other kernels of torch, oneDNN, MKL, OpenBLAS and numpy, and on other numbers of threads.
PROCESSORS = {
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "OMP_NUM_THREADS": "5",
    },
    "SSE": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX2,FMA3,AVX512F,AVX512CD,AVX512_SKX",
        "OMP_NUM_THREADS": "1",
    },
}
NETWORKS = (SMALL_DPN, Network("slim", "Slim", DenseNetShape(64, 32, (2, 4, 3, 2)), None))
PRINT_HASHES = "import test_random_weights as here; print(*here.hashes())"


def hashes():
    """Digests of graphs with their weights, batch norms folded, as they are published."""
    for network in NETWORKS:
        module, _ = random_network(network, seed=3)
        model = simplify(network.name, export(network.name, module, (INPUT,), ("output",))).model
        yield hashlib.sha256(model.SerializeToString()).hexdigest()


@pytest.fixture(name="here", scope="module")
def _here():
    """Digests of what this process makes, with all that its processor can."""
    return [*hashes()]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_processor_changes_no_byte(here, processor):
    """Random weights, and batch norms folded into convolutions, are equal wherever they are made."""
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    there = subprocess.run(
        [sys.executable, "-c", PRINT_HASHES],
        env=os.environ | paths | PROCESSORS[processor],
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here


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
    """The logits of photographs and noise are of order one in the deepest networks, and depend on the image."""
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


def test_integers_keep_their_bits():
    """Values become integers of so many bits, and the unit gives them back to half of one."""
    values = torch.tensor([0.0, 1.0, 1 / 3, -1234.5678, 1e-20])
    whole, unit = integers(values, 12)
    assert torch.equal(whole, whole.round())
    assert 2**11 <= whole.abs().max() <= 2**12
    assert (whole * unit - values).abs().max() <= unit / 2


def test_statistics_are_those_of_the_batch():
    """Running means and variances are what torch measures in training, to the bits that are kept."""
    module = TINY_DENSENET.module(bn_eps=1e-5).to_empty(device="cpu")
    generator = np.random.default_rng(0)
    with torch.no_grad():
        initialise(module, generator)
        noise = pink_noise(2, generator)
        calibrate(module.features, noise)
        first = module.features.conv0(noise)
    norm = module.features.norm0
    # Weights and images keep 8 bits, and the sums 8 again: the error of a mean is within 1% of the deviation.
    assert torch.allclose(norm.running_mean, first.mean((0, 2, 3)), rtol=0, atol=0.01 * float(first.std()))
    assert torch.allclose(norm.running_var, first.var((0, 2, 3)), rtol=0.03)


def test_no_two_batch_norms_are_alike():
    """A simplifier merges equal batch norms, which would make the random network faster than a trained one."""
    module, _ = random_network(select(["dpn68"])[0], 0)
    norms = [
        layer.weight.detach().numpy().tobytes() for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)
    ]
    assert len(norms) == len(set(norms)) == 72
