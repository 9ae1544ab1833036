"""What a run is asked for and measured on: devices, servers, working copies; without a server."""

import dataclasses

import pytest
from google.protobuf import text_format
from helpers import SMALL_CONFIG, write_model
from perf_runs import run
from tritonclient.grpc import model_config_pb2

from generator.errors import BadValue, TritongenError, UnknownName, UsageError, WrongDevice
from generator.server import gpus, probe
from generator.server.client import preprocessing_of
from generator.server.gpus import Gpu
from generator.server.probe import ServedModel
from generator.system.files import digest_of_folder
from generator.types import TensorSpec
from perf import request as asked
from perf.measure import device as devices
from perf.measure import servers, static_repository
from perf.measure.servers import Variant, check_batches, choose, variants
from perf.runs import store
from perf.runs.types import Request

REQUEST = Request("cpu", ("fp32",))


def served(name="densenet121", device="cpu", precision="fp32"):
    """A model as a server describes it."""
    inputs = (TensorSpec("input", "TYPE_FP32", (3, 224, 224)),)
    return ServedModel(name, "1", 8, device, precision, inputs, (TensorSpec("output", "TYPE_FP32", (1000,)),))


def gpu(name, uuid="GPU-aaaa"):
    """One as nvidia-smi tells of it."""
    return Gpu(name, uuid, "550.54", "1590", "5001", "70.00", "41")


@pytest.mark.parametrize("mean", ["a,b,c", "1,2", ""])
def test_invalid_parameters_of_a_served_model(mean):
    """Invalid parameters, which any server may send, are one error."""
    parameters = {f"tritongen.{key}": "224" for key in ("crop_px", "resize_short_px")} | {"tritongen.mean": mean}
    with pytest.raises(TritongenError, match=r"the tritongen\.\* parameters of densenet121 are not a preprocessing"):
        preprocessing_of(dataclasses.replace(served(), parameters=parameters))


def test_models_are_chosen_among_those_that_are_there():
    """Globs, any case, the published order, then the rest by name."""
    there = ["zoo", "dpn68", "densenet121", "alpha"]
    assert choose(["all"], there, "x") == ("densenet121", "dpn68", "alpha", "zoo")
    assert choose(["D*"], there, "x") == ("densenet121", "dpn68")
    with pytest.raises(UnknownName, match="there is no model in x named 'dpn92'"):
        choose(["zoo", "dpn92"], there, "x")


def test_batch_sizes_are_held_to_the_model():
    """Said before anything is measured, where they were asked for."""
    check_batches(REQUEST, {"densenet121": 8})
    wanted = dataclasses.replace(REQUEST, batch_sizes=(1, 16))
    with pytest.raises(BadValue, match="batch_sizes=16: densenet121 takes batches of 1 to 8"):
        check_batches(wanted, {"densenet121": 8})
    check_batches(dataclasses.replace(wanted, exact=False), {"densenet121": 8})


def test_the_servers_of_a_run():
    """One a precision; in the published profile one a precision and batch, from the smallest."""
    request = Request("t4", ("fp16", "fp32"), batch_sizes=(8, 1))
    assert variants(request) == (Variant("fp16"), Variant("fp32"))
    assert variants(dataclasses.replace(request, profile="published")) == (
        Variant("fp16", 1), Variant("fp16", 8), Variant("fp32", 1), Variant("fp32", 8),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("device", "said", "measured"),
    [
        ("cpu", (), ("fp32",)),
        ("cpu", ("FP32",), ("fp32",)),
        ("v100", (), ("fp32",)),  # its published table has no FP16
        ("t4", (), ("fp16", "fp32")),
        ("v100", ("fp32", "fp16"), ("fp16", "fp32")),
        ("t4", ("all",), ("fp16", "fp32")),
    ],
)
def test_what_a_device_is_measured_in(device, said, measured):
    """The precision is the requested one, else that of the published table."""
    assert devices.precisions_of(device, said) == measured


@pytest.mark.parametrize(
    ("names", "found"), [((), "cpu"), (("Tesla V100-SXM2-16GB",), "v100"), (("NVIDIA A100",), "cpu")]
)
def test_the_device_of_this_machine(monkeypatch, names, found):
    """The default of --gpu."""
    monkeypatch.setattr(devices, "gpu_names", lambda: names)
    assert devices.default_device() == found


def described(monkeypatch, device, model_device, url, there, uuids=()):
    """What a server runs on, of a host with these GPUs and metrics that speak of some of them."""
    monkeypatch.setattr(devices, "gpus", lambda: there)
    monkeypatch.setattr(probe, "gpu_uuids", lambda _url: uuids)
    return devices.describe_served(device, served(device=model_device), url, "localhost:8002")


@pytest.mark.parametrize(
    ("device", "model_device", "url", "names", "sentence"),
    [
        ("v100", "cpu", "localhost:8001", (), "cannot measure a V100: the server runs on "),
        ("t4", "gpu", "127.0.0.1:8001", ("Tesla V100",), "cannot measure a T4: the server runs on Tesla V100"),
        (
            "t4",
            "gpu",
            "127.0.0.1:8001",
            (),
            "cannot measure a T4: the server runs on a GPU that nvidia-smi does not name",
        ),
        (
            "t4",
            "gpu",
            "[::1]:8001",
            ("Tesla T4", "Tesla V100"),
            "cannot measure a T4: the server runs on Tesla T4, Tesla V100",
        ),
        ("cpu", "gpu", "localhost:8001", ("Tesla T4",), "cannot measure a CPU: the server runs on Tesla T4"),
        ("t4", "cpu", "elsewhere:8001", ("Tesla T4",), "cannot measure a T4: the server runs on a CPU of another host"),
        ("cpu", "gpu", "elsewhere:8001", (), "cannot measure a CPU: the server runs on a GPU"),
    ],
)
def test_a_device_is_found_out_not_believed(monkeypatch, device, model_device, url, names, sentence):
    """Another device than asked is an error, not a table."""
    with pytest.raises(WrongDevice) as caught:
        described(monkeypatch, device, model_device, url, tuple(map(gpu, names)))
    assert str(caught.value).startswith(sentence)


def test_a_gpu_as_the_table_names_it(monkeypatch):
    """nvidia-smi's name on this host, of the GPU that Triton's metrics speak of; the user's word on another."""
    two = (gpu("Tesla V100", "GPU-vvvv"), gpu("Tesla T4", "GPU-tttt"))
    found = described(monkeypatch, "t4", "gpu", "localhost:8001", two, ("GPU-tttt",))
    assert (found.label, found.gpu, found.stated) == ("Tesla T4", two[1], False)
    far = described(monkeypatch, "t4", "gpu", "elsewhere:8001", two)
    assert (far.label, far.gpu, far.stated) == ("T4 (as stated: the server is on another host)", None, True)


def test_the_gpus_of_a_fake_nvidia_smi(tmp_path, monkeypatch):
    """(Fake nvidia-smi.) One a line; none where it fails or talks of something else."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Tesla T4, GPU-aaaa, 550.54, 1590, 5001, 70.00, 41'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert gpus.gpus() == (gpu("Tesla T4"),)
    program.write_text("#!/bin/sh\necho 'Tesla V100-SXM2-16GB'\necho 'Tesla T4'\n")
    assert gpus.gpus() == ()
    assert gpus.gpu_names() == ("Tesla V100-SXM2-16GB", "Tesla T4")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert gpus.gpus() == gpus.gpu_names() == ()


GPU_CONFIG = (
    SMALL_CONFIG
    + """
model_warmup { name: "batch_1" batch_size: 1 inputs { key: "input" value: {
  data_type: TYPE_FP32 dims: [ 3, 224, 224 ] zero_data: true } } }
response_cache { enable: true }
optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt"
  parameters { key: "trt_profile_min_shapes" value: "input:1x3x224x224,mask:1x4" }
  parameters { key: "trt_profile_opt_shapes" value: "input:8x3x224x224,mask:8x4" }
  parameters { key: "trt_profile_max_shapes" value: "input:8x3x224x224,mask:8x4" }
  parameters { key: "trt_engine_cache_prefix" value: "small-0123" } } } }
"""
)


def test_a_config_for_one_batch():
    """One instance, no queue, no cache of answers; TensorRT's min = opt = max, and an engine of its own."""
    config = text_format.Parse(GPU_CONFIG, model_config_pb2.ModelConfig())
    made = static_repository.static(config, 4)
    assert config.max_batch_size == 8  # the user's is as it was
    assert (made.max_batch_size, made.instance_group[0].count) == (4, 1)
    assert not made.HasField("dynamic_batching")
    assert not made.response_cache.enable
    assert [(warmup.name, warmup.batch_size) for warmup in made.model_warmup] == [("batch_4", 4)]
    parameters = made.optimization.execution_accelerators.gpu_execution_accelerator[0].parameters
    shapes = {parameters[f"trt_profile_{end}_shapes"] for end in ("min", "opt", "max")}
    assert shapes == {"input:4x3x224x224,mask:4x4"}
    assert parameters["trt_engine_cache_prefix"] == "small-0123-static-4"
    assert probe.static_batch(made, on_gpu=True) == 4
    assert probe.static_batch(config, on_gpu=True) is None


def test_a_working_copy(tmp_path):
    """The user's repository stays; the copy has its model files and one config, of that batch."""
    folder = write_model(tmp_path / "repo", "small", GPU_CONFIG)
    (folder / "configs").mkdir()
    (folder / "configs" / "t4-fp16.pbtxt").write_text(GPU_CONFIG.replace("max_batch_size: 8", "max_batch_size: 2"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    configs = static_repository.configs(tmp_path / "repo", ["small"], "t4-fp16")
    assert {name: config.max_batch_size for name, config in configs.items()} == {"small": 2}
    for size in (1, 2):
        static_repository.write(tmp_path / "repo", tmp_path / f"copy{size}", configs, "t4-fp16", size)
        copy = tmp_path / f"copy{size}" / "small"
        assert f"max_batch_size: {size}\n" in (copy / "config.pbtxt").read_text()
        assert [path.name for path in (copy / "configs").iterdir()] == ["t4-fp16.pbtxt"]
        assert (copy / "1" / "model.onnx").samefile(folder / "1" / "model.onnx")
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "config.pbtxt").write_text("max_batch_size: many")
    with pytest.raises(TritongenError, match=r"needs a complete .*config\.pbtxt"):
        static_repository.configs(tmp_path / "repo", ["small"], None)


def test_the_bytes_of_a_model(tmp_path):
    """The name and the content of every file of the version."""
    folder = write_model(tmp_path, "small") / "1"
    before = digest_of_folder(folder)
    (folder / "weights.bin").write_bytes(b"1")
    with_more = digest_of_folder(folder)
    (folder / "weights.bin").rename(folder / "other.bin")
    assert len({before, with_more, digest_of_folder(folder)}) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shared_memory": "cuda"}, "shared_memory=cuda: there is no GPU"),
        ({"shared_memory": "system", "url": "far:8001"}, "shared_memory=system: the server is on another host"),
        ({"http_url": "h:1"}, "http_url=h:1: needs `url` and `protocol=http`"),
        ({"image_tag": "24.09"}, "image_tag=24.09: the CPU is served by the embedded engine"),
        ({"device": "v100", "image_tag": "24.10"}, "image_tag=24.10: cannot run FP32 on a V100"),
        ({"device": "v100", "baseline": True}, "baseline=true: "),
    ],
)
def test_options_that_do_not_go_together(changes, sentence):
    """Said before any server is started."""
    with pytest.raises(UsageError) as caught:
        asked.check(dataclasses.replace(REQUEST, **changes), [])
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("given", "changes", "found"),
    [
        (set(), {}, True),
        ({"models", "batch_sizes"}, {"models": ("ALL",), "batch_sizes": (8, 1)}, True),
        ({"batch_sizes"}, {"batch_sizes": (1, 4)}, False),
        ({"device"}, {"device": "t4"}, False),
        ({"profile"}, {"profile": "published"}, False),
    ],
)
def test_which_run_goes_on(tmp_path, given, changes, found):
    """The newest that has what was given; what was left out may be anything. A file that is no run is passed over."""
    stored = run({("densenet121", "fp32", 1): [30000], ("densenet121", "fp32", 8): []})
    begun = store.begin(tmp_path, stored.run)
    (tmp_path / "cpu" / "9.jsonl").write_text("no run\n")
    wanted = dataclasses.replace(REQUEST, measurement="standard", **changes)
    assert asked.newest_like(tmp_path, wanted, given) == (begun if found else None)


def test_a_device_that_is_not_here(tritongen, tmp_path):
    """Said before any server is started, also where it is the second of two."""
    write_model(tmp_path / "model_repository", "small")
    ran = tritongen("perf", "--gpu", "cpu,v100")
    assert (ran.status, ran.stdout) == (1, "")
    assert "error: cannot measure a V100: a server on this machine would run on" in ran.stderr
    assert "starting" not in ran.stderr
    assert not (tmp_path / "perf").exists()


def test_the_container_of_a_variant(monkeypatch):
    """(Fake nvidia-smi.) The GPU of that kind, the image that was asked for, shared memory where it is wanted."""
    monkeypatch.setattr(devices, "gpu_names", lambda: ("Tesla V100-SXM2-16GB", "Tesla T4"))
    request = Request("t4", ("fp16",), image_tag="24.10", shared_memory="cuda")
    options = servers.own_options(request, Variant("fp16"))
    assert (options.variant, options.device, options.tag, options.client_shm) == ("t4-fp16", "1", "24.10", True)
    plain = servers.own_options(Request("v100", ("fp32",)), Variant("fp32"))
    assert (plain.variant, plain.device, plain.tag, plain.client_shm) == ("v100-fp32", "0", "24.09", False)
