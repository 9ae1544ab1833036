"""The table of targets: windows of images, and the errors outside them."""

import pytest

from generator.config import targets
from generator.errors import BadValue, UnknownName
from generator.server.docker.container import docker_options

REFUSED = [
    (
        "v100", "fp32", "24.10",
        "image_tag=24.10: cannot run FP32 on a V100: TensorRT 10.5, in 24.10, ended the support of compute "
        "capability 7.0", "use 24.09",
    ),
    (
        "v100", "fp16", "25.04",
        "image_tag=25.04: cannot run FP16 on a V100: TensorRT 10.5, in 24.10, ended the support of compute "
        "capability 7.0", "use 24.09",
    ),
    (
        "v100", "fp32", "24.04",
        "image_tag=24.04: cannot run FP32 on a V100: --model-config-name begins with 24.05", "use 24.05",
    ),
    (
        "v100", "fp16", "24.04",
        "image_tag=24.04: cannot run FP16 on a V100: --model-config-name begins with 24.05", "use 24.05",
    ),
    (
        "t4", "fp16", "26.06",
        "image_tag=26.06: cannot run FP16 on a T4: TensorRT 11, in 26.06, has no FP16 by precision_mode", "use 26.05",
    ),
    ("t4", "fp16", "24.04", "image_tag=24.04: cannot run FP16 on a T4: --model-config-name begins", "use 24.05"),
    ("t4", "fp32", "23.12", "image_tag=23.12: cannot run FP32 on a T4: --model-config-name begins", "use 24.05"),
    (
        "cpu", "fp32", "24.04",
        "image_tag=24.04: cannot run FP32 on a CPU: the models are written for ONNX Runtime 1.18, of 24.05",
        "use 24.05",
    ),
    ("cpu", "fp16", None, "precision=fp16: the CPU serves FP32 only", "use `precision=fp32`"),
    ("t4", "fp32", "24.13", "image_tag=24.13: not a release of Triton", "releases are YY.MM, such as 24.09"),
    (None, None, "latest", "image_tag=latest: not a release of Triton", "releases are YY.MM, such as 24.09"),
]  # fmt: skip


@pytest.mark.parametrize(("gpu", "precision", "tag", "sentence", "hint"), REFUSED)
def test_impossible_images(gpu, precision, tag, sentence, hint):
    """The error has the reason, and the hint names the nearest image that works."""
    with pytest.raises(BadValue) as caught:
        docker_options(gpu, precision, tag)
    assert str(caught.value).startswith(sentence)
    assert caught.value.hint == hint


def test_both_sides_of_each_window_are_tested():
    """A new row needs cases before its first tag and after its last."""
    tried = {(gpu, precision, tag) for gpu, precision, tag, *_ in REFUSED}
    for target in targets.TARGETS:
        for precision, window in target.windows.items():
            tags = [tag for gpu, prec, tag in tried if (gpu, prec) == (target.name, precision)]
            assert [tag for tag in tags if tag < window.first]
            assert bool([tag for tag in tags if tag > (window.last or "99.12")]) == (window.last is not None)


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.name)
def test_window_bounds_are_inclusive(target):
    """The first, default and last tags are allowed; an open window allows any later tag."""
    for precision, window in target.windows.items():
        for tag in (window.first, target.default_tag, window.last or "30.01"):
            targets.check_tag(target, precision, tag)
    assert target.sources


def test_default_images_and_names():
    """All GPUs have one default image; names ignore case; an unknown name is an error."""
    assert {target.default_tag for target in targets.GPUS} == {targets.DEFAULT_TAG}
    assert targets.find("T4").compute_capability == "7.5"
    with pytest.raises(UnknownName, match="there is no GPU named 'k80'"):
        targets.find("k80")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("Tesla V100-SXM2-16GB", "v100"), ("Tesla V100S-PCIE-32GB", "v100"), ("Tesla T4", "t4"), ("NVIDIA T4", "t4"),
        ("NVIDIA T400 4GB", None), ("NVIDIA A100-SXM4-40GB", None), ("NVIDIA T4G", None), ("Quadro GV100", None),
    ],
)  # fmt: skip
def test_gpu_names_of_nvidia_smi(name, target):
    """A V100S is a V100; a T400 and a GV100 are unknown."""
    found = targets.of_gpu(name)
    assert (found.name if found else None) == target


def test_list_targets(tritongen):
    """One row per target on stdout, the sources on stderr, and the same as JSON."""
    ran = tritongen("list", "--targets")
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()}
    assert ran.status == 0
    assert "24.05 to 24.09" in rows["v100"]
    assert "24.05 to 26.05" in rows["t4"]
    assert "24.05 and later" in rows["t4"]
    assert "26.05: TensorRT 11 has no weakly typed FP16" in ran.stderr
    record = {target["name"]: target for target in tritongen("list", "--targets", "--json").json}
    assert record["v100"]["windows"]["fp16"]["last"] == "24.09"
    assert tritongen("list", "--targets", "--table").status == 2
