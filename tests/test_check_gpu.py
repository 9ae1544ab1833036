"""`check` for GPU servers and releases: accelerators, images, instance groups, variants, opsets."""

import pytest
from check_configs import CONFIG, errors
from helpers import onnx_model, write_model

import tritongen
from generator.checker.rules.onnx_model import onnx_runtime_of

VALUES = [
    ('"input:8x3x224x224" }\n} }', '"input:16x3x224x224" }\n} }', "ends at batch 16 and max_batch_size is 8"),
    ('"input:1x3x224x224"', '"input:1x3x224x224,input:4x3x224x224"', "several profiles; TensorRT's provider"),
    ('"input:1x3x224x224"', '"data:1x3x224x224"', "has no shape for input 'input'"),
    ('"trt_profile_min_shapes"', '"trt_timing_cache_enable"', "a profile needs its three shapes, and has no trt_profile_min_shapes"),
    ('key: "precision_mode" value: "FP16"', 'key: "trt_engine_cache_path" value: "/a/b/c"', "created without its parents"),
    ('key: "precision_mode" value: "FP16"', 'key: "trt_sparsity_enable" value: "on"', "ONNX Runtime gets 'on'"),
    ('"input:1x3x224x224"', '"input:1x3x224"', "trt_profile_min_shapes has a shape for 'input' that does not fit its dims"),
    ('"input:1x3x224x224"', '"input=1,3"', "trt_profile_min_shapes has 'input=1', which is not a shape"),
    ('"trt_profile_min_shapes" value: "input:1x', '"trt_profile_min_shapes" value: "input:16x', "decreases from min to opt or max"),
    ('"FP16"', '"INT8"', "INT8 without a calibration table"),
    ('key: "precision_mode" value: "FP16"', 'key: "max_workspace_size_bytes" value: "1GB"', "'1GB' is read as 1"),
    ('"precision_mode"', '"precision_mod"', "would refuse it: unknown parameter 'precision_mod' is provided for TensorRT"),
    ('"FP16"', '"fp16"', "would refuse it: unsupported precision mode 'fp16' is requested"),
    ('"tensorrt"', '"TensorRT"', "would refuse it: unknown Execution Accelerator 'TensorRT' is requested"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "sentence"), VALUES)
def test_cpu_server_warns_of_accelerators(tmp_path, old, new, sentence):
    """A wrong accelerator loads on a CPU server: a warning, with the line of the block."""
    assert old in CONFIG
    write_model(tmp_path, "net", CONFIG.replace(old, new))
    found = tritongen.check(tmp_path)
    assert errors(found) == []
    (finding,) = [finding for finding in found if sentence in finding.message]
    block = 1 + CONFIG.split("gpu_execution_accelerator")[0].count("\n")
    assert block <= finding.line <= block + 2


@pytest.mark.parametrize(
    ("old", "new", "release", "sentence"),
    [
        ('"precision_mode"', '"precision_mod"', "24.09", "unknown parameter 'precision_mod' is provided for TensorRT"),
        ('"FP16"', '"FP8"', "24.09", "unsupported precision mode 'FP8' is requested"),
        ('"FP16"', '"BF16"', "26.01", "unsupported precision mode 'BF16' is requested"),
        ('"tensorrt"', '"cuda"', "24.05", "unknown Execution Accelerator 'cuda' is requested"),
        ('key: "precision_mode" value: "FP16"', 'key: "trt_sparsity_enable" value: "yes"', None, "failed to convert 'yes'"),
        ('key: "precision_mode" value: "FP16"', 'key: "max_workspace_size_bytes" value: "big"', None,
         "failed to convert 'big' to unsigned long long integral number"),
    ],
)  # fmt: skip
def test_gpu_server_refuses_accelerators(tmp_path, old, new, release, sentence):
    """A wrong accelerator is an error for a GPU server, and none for a CPU server."""
    write_model(tmp_path, "net", CONFIG.replace(old, new))
    assert any(sentence in finding.message for finding in errors(tritongen.check(tmp_path, gpu="t4", release=release)))
    assert errors(tritongen.check(tmp_path)) == []


def test_keys_unknown_to_a_release(tmp_path):
    """Releases before 24.04 know no profiles, and do not run on the GPU."""
    write_model(tmp_path, "net", CONFIG)
    found = errors(tritongen.check(tmp_path, gpu="t4", release="24.03"))
    assert [finding.rule for finding in found] == ["image-is-outside", "accelerators-are-known"]
    assert "unknown parameter 'trt_profile_max_shapes'" in found[1].message
    assert found[1].fix == "release 24.04 is the first that knows it"
    found = errors(tritongen.check(tmp_path, gpu="t4", release="24.04"))
    assert [finding.rule for finding in found] == ["image-is-outside"]


def test_image_outside_the_window(tmp_path):
    """The error has the reason and the nearest release; older releases have a warning for hosts with several GPUs."""
    write_model(tmp_path, "net", CONFIG)
    (found,) = errors(tritongen.check(tmp_path, gpu="v100", release="24.10"))
    assert found.message == (
        "release 24.10 does not run on a V100: TensorRT 10.5, in 24.10, ended the support of compute capability 7.0"
    )
    assert found.fix == "use 24.09"
    found = tritongen.check(tmp_path, gpu="v100", release="24.09")
    assert [finding.rule for finding in found] == ["first-gpu-only"]
    assert tritongen.check(tmp_path, gpu="t4", release="25.04") == ()
    (found,) = tritongen.check(tmp_path, gpu="t4", release="26.06")
    assert "TensorRT 11, in 26.06, has no FP16 by precision_mode" in found.message


def test_instance_groups_on_a_gpu_server(tmp_path):
    """A GPU server has GPU 0 only; a CPU server has no GPU."""
    group = "instance_group { count: 1 kind: KIND_GPU gpus: [ %d ] }"
    write_model(tmp_path, "net", CONFIG.replace("instance_group { count: 1 }", group % 0))
    assert errors(tritongen.check(tmp_path, gpu="t4")) == []
    assert "invalid or unsupported gpu id 0" in errors(tritongen.check(tmp_path))[0].message
    (tmp_path / "net" / "config.pbtxt").write_text(CONFIG.replace("instance_group { count: 1 }", group % 1))
    assert errors(tritongen.check(tmp_path, gpu="t4"))[0].message.endswith("are: 0")


def test_variants_are_checked_for_their_gpu(tmp_path):
    """configs/v100-*.pbtxt is checked for a V100 and 24.09, whatever the options; the finding has file and line."""
    folder = write_model(tmp_path, "net", CONFIG)
    (folder / "configs").mkdir()
    (folder / "configs" / "v100-fp16.pbtxt").write_text(CONFIG.replace('"precision_mode"', '"precision_mod"'))
    (folder / "configs" / "mine.pbtxt").write_text(CONFIG.replace("[ 4, 8 ]", "[ 4, 16 ]"))
    found = {finding.file: finding for finding in errors(tritongen.check(tmp_path))}
    assert set(found) == {"net/configs/v100-fp16.pbtxt", "net/configs/mine.pbtxt"}
    assert "unknown parameter 'precision_mod'" in found["net/configs/v100-fp16.pbtxt"].message
    assert found["net/configs/mine.pbtxt"].line == 7


def test_releases_read_their_opsets(tmp_path):
    """ONNX Runtime 1.21, of 25.03, reads opset 22; 1.23, of 25.08, reads IR version 11."""
    for name, opset, ir_version, first in (("opset", 22, 8, "25.03"), ("ir", 18, 11, "25.08")):
        model = onnx_model(
            [("Relu", ["x"], ["y"])],
            {"x": ["fp32", "N", 3]},
            {"y": ["fp32", "N", 3]},
            opset=opset,
            ir_version=ir_version,
        )
        write_model(tmp_path / name, "net", 'backend: "onnxruntime"', model)
        (found,) = errors(tritongen.check(tmp_path / name))
        assert (
            "Unsupported model IR version: 11" in found.message
            or "official support for domain ai.onnx is till opset 21" in found.message
        )
        assert found.file == "net/1/model.onnx"
        assert errors(tritongen.check(tmp_path / name, release=first)) == []
    assert onnx_runtime_of("24.10").version == "1.19"
    assert onnx_runtime_of("27.01").opset == 26
