"""Reports, tables and devices of perf, without a server."""

import dataclasses
from pathlib import Path

import pytest
from helpers import DATA

from generator.client import preprocessing_of
from generator.errors import BadOption, TritongenError, UnknownName, WrongDevice
from generator.server import gpus
from generator.spec import ServedModel, TensorSpec
from perf import device as devices
from perf import table
from perf.analyzer import PLANS, command
from perf.results import METRICS, Latency, Measurement, PerfPoint, parse_csv
from perf.sweep import Request, Sweep, batch_sizes_of, choose


def served(name="densenet121", device="cpu", precision="fp32"):
    """A model as a server describes it."""
    inputs = (TensorSpec("input", "TYPE_FP32", (3, 224, 224)),)
    return ServedModel(name, "1", 8, device, precision, inputs, (TensorSpec("output", "TYPE_FP32", (1000,)),))


def latency(**changes):
    """A row, 10 µs in each part and 40 to 43 ms at the client."""
    parts = dict.fromkeys(("client_send_us", "network_us", "queue_us", "compute_input_us", "compute_infer_us",
                           "compute_output_us", "client_recv_us"), 10)  # fmt: skip
    return Latency(**{**parts, "p50_us": 40000, "p90_us": 41000, "p95_us": 42000, "p99_us": 43000, **changes})


@pytest.mark.parametrize("name", ["plain", "verbose"])
def test_a_recorded_report(name):
    """Columns are found by name, with and without --verbose-csv (recorded from perf_analyzer 2.51.0)."""
    assert parse_csv((DATA / f"perf-{name}.csv").read_text()) == Latency(
        151, 2825, 188, 87, 35925, 633, 3, 39576, 43357, 44560, 44560
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "wrote 0 rows"),
        ("Concurrency,Inferences/Second\n", "wrote 0 rows"),
        ("Concurrency,Client Send\n1,2\n1,2\n", "wrote 2 rows"),
        ("Concurrency,Client Send\n1,2\n", "wrote no 'Network"),
    ],
)
def test_a_report_that_cannot_be_read(text, why):
    """Never a guess."""
    with pytest.raises(ValueError, match=why):
        parse_csv(text)


def test_metrics_are_labelled_and_apart():
    """Server compute, server total, client p50 and p99 are four numbers."""
    row = latency(compute_infer_us=35000)
    assert {metric.name: metric.value_us(row) for metric in METRICS} == {
        "compute": 35000,
        "server": 35030,
        "p50": 40000,
        "p99": 43000,
    }


def test_the_line_of_a_point(tmp_path):
    """gRPC, one concurrency, the batch, real input, a report of its own."""
    line = command(
        tmp_path / "pa", PerfPoint("dpn92", "fp32", 8), "h:1", PLANS["quick"], tmp_path / "in", tmp_path / "o"
    )
    assert line == [
        str(tmp_path / "pa"), "-m", "dpn92", "-u", "h:1", "-i", "grpc", "-b", "8", "--concurrency-range=1",
        f"--input-data={tmp_path / 'in'}", "--request-count=10", "--verbose-csv", "-f", str(tmp_path / "o"),
    ]  # fmt: skip


def test_a_golden_table():
    """The published columns; a failed and an unstable point stand where their figures would."""
    measurements = (
        Measurement(PerfPoint("densenet121", "fp32", 1), "ok", latency(compute_infer_us=35566)),
        Measurement(PerfPoint("densenet121", "fp32", 8), "unstable", reason="no three windows agree"),
        Measurement(PerfPoint("mynet", "fp32", 1), "failed", reason="perf_analyzer ended with 99: refused"),
        Measurement(PerfPoint("mynet", "fp32", 8), "ok", latency(compute_infer_us=123)),
    )
    sweep = Sweep("cpu", "a CPU", "a Triton", (served(), served("mynet")), ("fp32",), (1, 8), measurements)
    assert table.markdown(sweep, METRICS[0]) == (
        "| Models | Crop Size | Resize Short Size | FP32<br>Batch Size=1<br>(ms) | FP32<br>Batch Size=8<br>(ms) |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| DenseNet121 | 224 | 256 | 35.57 | unstable |\n"
        "| mynet | 224 | 256 | failed | 0.12 |"
    )
    assert table.reasons(sweep) == [
        "unstable: densenet121 fp32 batch 8: no three windows agree",
        "failed: mynet fp32 batch 1: perf_analyzer ended with 99: refused",
    ]


@pytest.mark.parametrize("mean", ["a,b,c", "1,2", ""])
def test_a_server_that_talks_nonsense(mean):
    """A model's parameters come from any server: what cannot be read is one sentence."""
    said = {f"tritongen.{key}": "224" for key in ("crop_px", "resize_short_px")} | {"tritongen.mean": mean}
    with pytest.raises(TritongenError, match=r"the tritongen\.\* parameters of densenet121 say no preprocessing"):
        preprocessing_of(dataclasses.replace(served(), parameters=said))


def test_models_are_chosen_among_those_that_are_there():
    """Globs, any case, the published order, then the rest by name."""
    there = ["zoo", "dpn68", "densenet121", "alpha"]
    assert choose(["all"], there, "x") == ("densenet121", "dpn68", "alpha", "zoo")
    assert choose(["D*"], there, "x") == ("densenet121", "dpn68")
    with pytest.raises(UnknownName, match="there is no model in x named 'dpn92'"):
        choose(["zoo", "dpn92"], there, "x")


def test_batch_sizes_are_held_to_the_model():
    """Said before anything is measured."""
    request = Request("cpu", ("fp32",), ("all",), (1, 8), Path("repo"), None)
    assert batch_sizes_of(request, served()) == (1, 8)
    request = dataclasses.replace(request, batch_sizes=(1, 16))
    with pytest.raises(BadOption, match="--batch-sizes 16: densenet121 takes batches of 1 to 8"):
        batch_sizes_of(request, served())
    assert batch_sizes_of(dataclasses.replace(request, exact=False), served()) == [1]


@pytest.mark.parametrize(
    ("device", "asked", "measured"),
    [
        ("cpu", (), ("fp32",)),
        ("cpu", ("FP32",), ("fp32",)),
        ("v100", (), ("fp32",)),  # its published table has no FP16
        ("t4", (), ("fp16", "fp32")),
        ("v100", ("fp32", "fp16"), ("fp16", "fp32")),
        ("t4", ("all",), ("fp16", "fp32")),
    ],
)
def test_what_a_device_is_measured_in(device, asked, measured):
    """What was asked, else what its published table has."""
    assert devices.precisions_of(device, asked) == measured


@pytest.mark.parametrize(
    ("names", "found"), [((), "cpu"), (("Tesla V100-SXM2-16GB",), "v100"), (("NVIDIA A100",), "cpu")]
)
def test_the_device_of_this_machine(monkeypatch, names, found):
    """The default of --gpu."""
    monkeypatch.setattr(devices, "gpu_names", lambda: names)
    assert devices.default_device() == found


@pytest.mark.parametrize(
    ("device", "model_device", "url", "names", "sentence"),
    [
        ("v100", "cpu", "localhost:8001", (), "--gpu v100: the server runs on "),
        ("t4", "gpu", "127.0.0.1:8001", ("Tesla V100",), "--gpu t4: the server runs on Tesla V100"),
        ("cpu", "gpu", "localhost:8001", ("Tesla T4",), "--gpu cpu: the server runs on Tesla T4"),
        ("t4", "cpu", "elsewhere:8001", ("Tesla T4",), "--gpu t4: the server runs on a CPU"),
        ("cpu", "gpu", "elsewhere:8001", (), "--gpu cpu: the server runs on a GPU"),
    ],
)
def test_a_device_is_found_out_not_believed(monkeypatch, device, model_device, url, names, sentence):
    """Another device than asked is an error, not a table."""
    monkeypatch.setattr(devices, "gpu_names", lambda: names)
    with pytest.raises(WrongDevice) as caught:
        devices.describe_served(device, served(device=model_device), url)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("url", "label"),
    [("localhost:8001", "Tesla T4"), ("elsewhere:8001", "T4 (as stated: the server is on another host)")],
)
def test_a_gpu_as_the_table_names_it(monkeypatch, url, label):
    """nvidia-smi's name on this host; the user's word on another."""
    monkeypatch.setattr(devices, "gpu_names", lambda: ("Tesla T4",))
    assert devices.describe_served("t4", served(device="gpu"), url) == label


def test_gpu_names_of_a_fake_nvidia_smi(tmp_path, monkeypatch):
    """(Fake nvidia-smi.) One name a line; none where it fails."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Tesla V100-SXM2-16GB'\necho 'Tesla T4'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert gpus.gpu_names() == ("Tesla V100-SXM2-16GB", "Tesla T4")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert gpus.gpu_names() == ()
