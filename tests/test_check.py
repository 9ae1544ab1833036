"""`check`: what a real server said to 107 repositories, for which server it judges, and hostile input."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from helpers import SMALL_CONFIG, onnx_model, small_onnx, write_model
from verdict_cases import CASES, lay_out

import generator
from generator.commands.check import not_judged
from generator.errors import RepositoryNotFound
from generator.findings import Finding
from generator.rules.model_file import LARGEST_LOCATION
from generator.rules.places import line_at, lines_of
from generator.rules.releases import onnx_runtime_of

TENSORRT = """
optimization { execution_accelerators { gpu_execution_accelerator {
  name: "tensorrt"
  parameters { key: "precision_mode" value: "FP16" }
  parameters { key: "trt_profile_min_shapes" value: "input:1x3x224x224" }
  parameters { key: "trt_profile_opt_shapes" value: "input:8x3x224x224" }
  parameters { key: "trt_profile_max_shapes" value: "input:8x3x224x224" }
} } }
"""
CONFIG = SMALL_CONFIG + TENSORRT
NO_PROFILE = SMALL_CONFIG + "".join(line for line in TENSORRT.splitlines(keepends=True) if "profile" not in line)


def errors(findings):
    """What a server refuses."""
    return [finding for finding in findings if finding.level == "error"]


def warnings(findings):
    """What loads and hurts."""
    return [finding for finding in findings if finding.level == "warning"]


@pytest.mark.parametrize("run", [False, True], ids=["unrun", "run"])
@pytest.mark.parametrize("name", CASES)
def test_the_real_servers_verdicts(tmp_path, name, run):
    """The verdict is the server's, and so is the sentence, paths and all."""
    case = CASES[name]
    lay_out(case, tmp_path)
    found = errors(generator.check(tmp_path, run=run))
    assert ("refused" if found else "accepted") == case["verdict"]
    if found:
        sentence = case["message"].replace("<repository>", str(tmp_path))
        assert any(sentence in finding.message for finding in found)
        stage = "version" if case["stage"] == "abort" else case["stage"]
        assert stage in {finding.stage for finding in found}
        assert all(finding.fix for finding in found)


def test_a_good_model_has_no_findings(tmp_path):
    """Nor has it when it is run."""
    write_model(tmp_path, "net", CONFIG)
    assert generator.check(tmp_path, run=True) == ()


HURTS = {
    "labels-fit": (CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "labels.txt"'), "has 2 labels for the 1000"),
    "batching-without-batches": (
        CONFIG.replace("max_batch_size: 8", "")
        .replace("[ 3,", "[ -1, 3,")
        .replace("[ 1000", "[ -1, 1000")
        .replace("preferred_batch_size: [ 4, 8 ]", ""),
        "dynamic_batching does nothing where max_batch_size is 0",
    ),
    "listed-twice": (
        CONFIG + 'output { name: "output" data_type: TYPE_FP32 dims: [ 1000 ] }',
        "'output' is listed 2 times",
    ),
    "policies-without-levels": (
        CONFIG.replace("preferred_batch_size", "priority_queue_policy { key: 1 value { } } preferred_batch_size"),
        "priority_queue_policy does nothing without priority_levels",
    ),
    "random-warmup": (
        CONFIG + 'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 '
        "dims: [ 3, 224, 224 ] random_data: true } } }",
        "random bytes, NaN among them",
    ),
    "accelerators-hurt": (NO_PROFILE, "dynamic batching without profiles"),
}
VALUES = [
    ('"input:8x3x224x224" }\n} }', '"input:16x3x224x224" }\n} }', "ends at batch 16 and max_batch_size is 8"),
    ('"input:1x3x224x224"', '"input:1x3x224x224,input:4x3x224x224"', "several profiles, of which"),
    ('"input:1x3x224x224"', '"data:1x3x224x224"', "has no shape for input 'input'"),
    ('"trt_profile_min_shapes"', '"trt_timing_cache_enable"', "a profile wants its three shapes, and has no trt_profile_min_shapes"),
    ('key: "precision_mode" value: "FP16"', 'key: "trt_engine_cache_path" value: "/a/b/c"', "made without its parents"),
    ('key: "precision_mode" value: "FP16"', 'key: "trt_sparsity_enable" value: "on"', "is handed 'on'"),
    ('"input:1x3x224x224"', '"input:1x3x224"', "trt_profile_min_shapes has another shape for 'input' than its dims"),
    ('"input:1x3x224x224"', '"input=1,3"', "trt_profile_min_shapes has 'input=1', which is no shape"),
    ('"trt_profile_min_shapes" value: "input:1x', '"trt_profile_min_shapes" value: "input:16x', "falls between min, opt and max"),
    ('"FP16"', '"INT8"', "INT8 without a calibration table"),
    ('key: "precision_mode" value: "FP16"', 'key: "max_workspace_size_bytes" value: "1GB"', "'1GB' is read as 1"),
    ('"precision_mode"', '"precision_mod"', "would refuse it: unknown parameter 'precision_mod' is provided for TensorRT"),
    ('"FP16"', '"fp16"', "would refuse it: unsupported precision mode 'fp16' is requested"),
    ('"tensorrt"', '"TensorRT"', "would refuse it: unknown Execution Accelerator 'TensorRT' is requested"),
]  # fmt: skip


@pytest.mark.parametrize("rule", HURTS)
def test_what_loads_and_hurts(tmp_path, rule):
    """A warning with a fix, and no error."""
    config, sentence = HURTS[rule]
    (write_model(tmp_path, "net", config) / "labels.txt").write_text("a\nb\n")
    found = generator.check(tmp_path)
    assert errors(found) == []
    assert any(finding.rule == rule and sentence in finding.message and finding.fix for finding in found), found


@pytest.mark.parametrize(("old", "new", "sentence"), VALUES)
def test_accelerators_that_only_a_gpu_server_reads(tmp_path, old, new, sentence):
    """On the CPU server it loads: a warning, with the line of the block."""
    assert old in CONFIG
    write_model(tmp_path, "net", CONFIG.replace(old, new))
    found = generator.check(tmp_path)
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
def test_a_gpu_server_refuses_them(tmp_path, old, new, release, sentence):
    """`--gpu t4 --triton RELEASE`: an error; on the CPU a warning."""
    write_model(tmp_path, "net", CONFIG.replace(old, new))
    assert any(sentence in finding.message for finding in errors(generator.check(tmp_path, gpu="t4", release=release)))
    assert errors(generator.check(tmp_path)) == []


def test_keys_and_profiles_that_a_release_does_not_know(tmp_path):
    """Before 24.04 there are no profiles; the image is outside the window as well."""
    write_model(tmp_path, "net", CONFIG)
    found = errors(generator.check(tmp_path, gpu="t4", release="24.03"))
    assert [finding.rule for finding in found] == ["image-is-outside", "accelerators-are-known"]
    assert "unknown parameter 'trt_profile_max_shapes'" in found[1].message
    assert found[1].fix == "release 24.04 is the first that knows it"


def test_images_outside_the_window(tmp_path):
    """The reason and the nearest; within it a warning for hosts with several GPUs."""
    write_model(tmp_path, "net", CONFIG)
    (found,) = errors(generator.check(tmp_path, gpu="v100", release="24.10"))
    assert found.message == (
        "release 24.10 does not run on a V100: TensorRT 10.5, in 24.10, ended the support of compute capability 7.0"
    )
    assert found.fix == "use 24.09"
    found = generator.check(tmp_path, gpu="v100", release="24.09")
    assert [finding.rule for finding in found] == ["first-gpu-only"]
    assert generator.check(tmp_path, gpu="t4", release="25.04") == ()
    (found,) = generator.check(tmp_path, gpu="t4", release="26.06")
    assert "TensorRT 11, in 26.06, has no FP16 by precision_mode" in found.message


def test_instance_groups_on_a_gpu_server(tmp_path):
    """GPU 0 is there; a second one is not, and the CPU server has none."""
    group = "instance_group { count: 1 kind: KIND_GPU gpus: [ %d ] }"
    write_model(tmp_path, "net", CONFIG.replace("instance_group { count: 1 }", group % 0))
    assert errors(generator.check(tmp_path, gpu="t4")) == []
    assert "invalid or unsupported gpu id 0" in errors(generator.check(tmp_path))[0].message
    (tmp_path / "net" / "config.pbtxt").write_text(CONFIG.replace("instance_group { count: 1 }", group % 1))
    assert errors(generator.check(tmp_path, gpu="t4"))[0].message.endswith("are: 0")


def test_variants_are_judged_for_their_gpu(tmp_path):
    """configs/v100-*.pbtxt for a V100 of 24.09, whatever is asked; the finding names the file and the line."""
    folder = write_model(tmp_path, "net", CONFIG)
    (folder / "configs").mkdir()
    (folder / "configs" / "v100-fp16.pbtxt").write_text(CONFIG.replace('"precision_mode"', '"precision_mod"'))
    (folder / "configs" / "mine.pbtxt").write_text(CONFIG.replace("[ 4, 8 ]", "[ 4, 16 ]"))
    found = {finding.file: finding for finding in errors(generator.check(tmp_path))}
    assert set(found) == {"net/configs/v100-fp16.pbtxt", "net/configs/mine.pbtxt"}
    assert "unknown parameter 'precision_mod'" in found["net/configs/v100-fp16.pbtxt"].message
    assert found["net/configs/mine.pbtxt"].line == 7


def test_a_release_reads_its_opsets(tmp_path):
    """Opset 22 is of ONNX Runtime 1.21, of 25.03; IR version 11 of 1.23, of 25.08."""
    for name, opset, ir_version, first in (("opset", 22, 8, "25.03"), ("ir", 18, 11, "25.08")):
        model = onnx_model(
            [("Relu", ["x"], ["y"])],
            {"x": ["fp32", "N", 3]},
            {"y": ["fp32", "N", 3]},
            opset=opset,
            ir_version=ir_version,
        )
        write_model(tmp_path / name, "net", 'backend: "onnxruntime"', model)
        (found,) = errors(generator.check(tmp_path / name))
        assert (
            "Unsupported model IR version: 11" in found.message
            or "official support for domain ai.onnx is till opset 21" in found.message
        )
        assert found.file == "net/1/model.onnx"
        assert errors(generator.check(tmp_path / name, release=first)) == []
    assert onnx_runtime_of("24.10").version == "1.19"
    assert onnx_runtime_of("27.01").opset == 26


def test_ensembles(tmp_path):
    """The batch, the models and the tensors of the steps."""
    write_model(tmp_path, "net", CONFIG)
    ensemble = """platform: "ensemble" max_batch_size: %d
input { name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ 1000 ] }
ensemble_scheduling { step { model_name: "%s" model_version: -1
  input_map { key: "%s" value: "x" } output_map { key: "output" value: "y" } } }
"""
    (tmp_path / "whole" / "1").mkdir(parents=True)
    config = tmp_path / "whole" / "config.pbtxt"
    for arguments, sentence in (
        ((8, "net", "input"), None),
        (
            (16, "net", "input"),
            "allows maximum batch size 16, but it contains model net which only allows maximum batch size",
        ),
        ((8, "nett", "input"), "ensemble whole contains models that are not available or ambiguous: nett"),
        ((8, "net", "data"), "ensemble tensor x is mapping to non-existing input data in model net"),
    ):
        config.write_text(ensemble % arguments)
        found = errors(generator.check(tmp_path))
        assert [sentence in finding.message for finding in found] == ([True] if sentence else [])


def test_running_shows_what_reading_cannot(tmp_path):
    """A batch that is fixed behind a run-time shape: the server loads it, and fails requests."""
    graph = onnx_model(
        [("Add", ["one", "zero"], ["batch"]), ("Concat", ["batch", "three"], ["shape"], {"axis": 0}),
         ("Reshape", ["input", "shape"], ["output"])],
        {"input": ["fp32", "N", 3]}, {"output": ["fp32", "N", 3]},
        {"one": [1], "zero": [0], "three": [3]},
    )  # fmt: skip
    config = (
        'backend: "onnxruntime" max_batch_size: 8 input { name: "input" data_type: TYPE_FP32 dims: [ 3 ] }\n'
        'output { name: "output" data_type: TYPE_FP32 dims: [ 3 ] } optimization { graph { level: 2 } }\n'
    )
    folder = write_model(tmp_path, "net", config, graph)
    assert generator.check(tmp_path) == ()
    (found,) = generator.check(tmp_path, run=True)
    assert (found.level, found.line) == ("warning", 1)
    assert (
        "a batch of 8 fails: onnx runtime error 1: Non-zero status code returned while running Reshape" in found.message
    )
    sample = 'model_warmup { name: "w" batch_size: 8 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } }'
    (folder / "config.pbtxt").write_text(config + sample)
    (found,) = generator.check(tmp_path, run=True)
    assert (found.level, found.line, found.stage) == ("error", 3, "load")
    assert found.message.startswith("Internal: failed to run warmup sample 'w': onnx runtime error 1: Non-zero")


def test_the_command(tritongen, tmp_path):
    """Text, JSON, annotations; exit 0, 1 and 2."""
    write_model(tmp_path / "model_repository", "good", CONFIG)
    assert tritongen("check").status == 0
    write_model(tmp_path / "model_repository", "bad", SMALL_CONFIG.replace("max_batch_size", "max_batchsize"))
    write_model(tmp_path / "model_repository", "warned", NO_PROFILE)
    ran = tritongen("check")
    assert ran.status == 1
    assert (
        "error: bad/config.pbtxt:3 [read-config]\n  failed to read text proto from model_repository/bad" in ran.stdout
    )
    assert "  fix: did you mean max_batch_size?\n" in ran.stdout
    assert "3 models in model_repository: 1 error, 1 warning" in ran.stderr
    record = {finding["model"]: finding for finding in tritongen("check", "--json").json}
    assert (record["bad"]["level"], record["bad"]["line"]) == ("error", 3)
    lines = tritongen("check", "--github").stdout.splitlines()
    assert lines[0].startswith(
        "::error file=model_repository/bad/config.pbtxt,line=3,title=read-config::failed to read"
    )
    assert lines[1].startswith(
        "::warning file=model_repository/warned/config.pbtxt,line=9,title=accelerators-hurt::dynamic"
    )
    (tmp_path / "model_repository" / "bad" / "config.pbtxt").write_text(CONFIG)
    assert tritongen("check").status == 0
    assert tritongen("check", "--fail-on", "warning").status == 1
    for call, sentence in (
        (("check", "none"), "none is not a model repository: there is no such folder"),
        (("check", "--gpu", "h100"), "there is no GPU named 'h100'"),
        (("check", "--triton", "new"), "--triton new: it is no release of Triton"),
        (("check", "--json", "--github"), "--github given: --json is given too"),
        (("check", "--server", "--gpu", "t4"), "--server given: the embedded server is one on the CPU"),
    ):
        ran = tritongen(*call)
        assert (ran.status, sentence in ran.stderr) == (1 if call[1] == "none" else 2, True)
    with pytest.raises(RepositoryNotFound):
        generator.check(tmp_path / "none")


def test_lines():
    """Lists, braces in strings, comments, both kinds of brackets, strings in a row."""
    text = (
        'name: "a{" "b"  # { not\ninput [ { name: "x" }, {\nname: "y"\ndims: [ 1,\n2 ] } ]\noutput <\n name: \'z\' >\n'
    )
    lines = lines_of(text)
    assert line_at(lines, ("input", 0, "name")) == 2
    assert line_at(lines, ("input", 1, "name")) == 3
    assert line_at(lines, ("input", 1, "dims", 1)) == 5
    assert line_at(lines, ("input", 1, "nothing")) == 2
    assert line_at(lines, ("output", 0, "name")) == 7
    assert line_at(lines, ("nosuch", 0)) is None


HOSTILE_NAMES = ["a b", "a%2Fb", 'quo"te', "new\nline", "ünï", "%s{}", "-rf", "::error::", "..."]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(tritongen, tmp_path, name):
    """They load; what HTTP cannot reach is a warning; one line of GitHub's stays one line."""
    write_model(tmp_path / "model_repository", name, CONFIG)
    ran = tritongen("check", "--github")
    assert ran.status == 0
    assert all(line.startswith("::warning ") for line in ran.stdout.splitlines())
    reachable = name in ("-rf", "...")
    assert (ran.stdout == "") == reachable


def secret(tmp_path):
    """A file outside the repository that nothing may open."""
    path = tmp_path / "secret"
    path.write_bytes(b"secret")
    path.chmod(0)
    return path


def test_paths_that_escape(tmp_path):
    """Labels, warm-up data, external data, the model's own name, links: found, and not opened."""
    repository = tmp_path / "repository"
    outside = tmp_path / "outside.txt"
    outside.write_text("a\n")
    labels = CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "../../outside.txt"')
    write_model(repository, "labels", labels)
    warm = 'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] input_data_file: "%s" } } }'
    write_model(repository, "warmup", CONFIG + warm % "../../../outside.txt")
    model = small_onnx()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../outside.txt")
    write_model(repository, "external", CONFIG, model)
    tensor.external_data[0].value = "x" * (LARGEST_LOCATION + 1)
    write_model(repository, "long", CONFIG, model)
    write_model(repository, "filename", CONFIG + 'default_model_filename: "../../../outside.txt"')
    folder = write_model(repository, "linked", CONFIG)
    (folder / "1" / "model.onnx").unlink()
    (folder / "1" / "model.onnx").symlink_to(outside)
    (repository / "elsewhere").symlink_to(tmp_path)
    (write_model(repository, "config") / "config.pbtxt").unlink()
    (repository / "config" / "config.pbtxt").symlink_to(outside)
    opened = opened_files(repository)
    assert str(outside) not in opened
    found = {finding.model: finding for finding in generator.check(repository)}
    assert "is outside model directory" in found["labels"].message
    assert "'../../../outside.txt' are outside" in found["warmup"].message
    assert "has data outside the model's folder" in found["external"].message
    assert "has data outside the model's folder" in found["long"].message
    for name in ("filename", "linked", "elsewhere", "config"):
        assert "leads out of the repository, and was not read" in found[name].message
    assert errors(generator.check(repository, release="26.02"))


def opened_files(repository):
    """Every file that a check opens, by Python's audit hook."""
    code = (
        "import sys, generator\nfrom generator import checking, judge\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        f"generator.check({str(repository)!r})\nprint('\\n'.join(opened))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [os.path.realpath(line) for line in done.stdout.splitlines()]


def test_files_that_are_too_large_or_none(tmp_path):
    """A sparse 2 GB model, a config of 100 MB, a loop of links, a number that aborts: each is found, in little memory."""
    folder = write_model(tmp_path, "sparse", CONFIG)
    with (folder / "1" / "model.onnx").open("wb") as file:
        file.truncate(2 << 30)
    with (write_model(tmp_path, "large", CONFIG) / "config.pbtxt").open("wb") as file:
        file.truncate(100 << 20)
    write_model(tmp_path, "deep", "a { " * 100_000)
    write_model(tmp_path, "binary", "")
    (tmp_path / "binary" / "config.pbtxt").write_bytes(b'name: "\xff"')
    folder = write_model(tmp_path, "loop", CONFIG)
    (folder / "2").symlink_to(folder / "3")
    (folder / "3").symlink_to(folder / "2")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (write_model(tmp_path, "abort", CONFIG) / "99999999999999999999").mkdir()
    (write_model(tmp_path, "folder") / "config.pbtxt").unlink()
    (tmp_path / "folder" / "config.pbtxt").mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {finding.model: finding for finding in errors(generator.check(tmp_path))}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    assert "Protobuf parsing failed" in found["sparse"].message
    assert "it has more than 4 MiB and was not read" in found["large"].message
    assert "failed to read text proto" in found["deep"].message
    assert "surrogates not allowed" in found["binary"].message
    assert found["binary"].message.isprintable()
    assert "failed to stat file" in found["broken"].message
    assert "std::out_of_range" in found["abort"].message
    assert "std::length_error" in found["folder"].message
    assert set(found) == {"sparse", "large", "deep", "binary", "broken", "abort", "folder"}


@pytest.mark.parametrize("name", ["config.pbtxt", "labels.txt", "1/model.onnx", "warmup/x"])
def test_pipes_are_not_waited_for(tmp_path, name):
    """A named pipe in the place of any file is refused, and not opened."""
    labels = CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "labels.txt"')
    sample = 'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] input_data_file: "x" } } }'
    folder = write_model(tmp_path, "net", labels + sample)
    (folder / "warmup").mkdir()
    (folder / "labels.txt").write_text("a\n" * 1000)
    (folder / "warmup" / "x").write_bytes(bytes(4 * 3 * 224 * 224))
    assert errors(generator.check(tmp_path)) == []
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert errors(generator.check(tmp_path))


def test_what_may_not_be_read(tmp_path, monkeypatch):
    """A folder of somebody else's is a finding, and the others are judged."""
    write_model(tmp_path, "closed", CONFIG)
    write_model(tmp_path, "good", CONFIG)
    listed = Path.iterdir

    def iterdir(path):  # root may read everything
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    (found,) = generator.check(tmp_path)
    assert (found.level, found.rule) == ("error", "unreadable")
    assert found.message == f"{tmp_path}/closed: permission denied"


def test_a_terminal_obeys_nothing_of_a_name(tritongen, tmp_path):
    """Escape sequences, line breaks and marks of direction in a folder's name are shown."""
    name = "bad\x1b[31mred\x07\nnext\u202e"
    write_model(tmp_path / "model_repository", name, "x: 1")
    for arguments in ((), ("--github",)):
        ran = tritongen("check", *arguments)
        assert ran.status == 1
        assert all(char.isprintable() for char in ran.stdout.replace("\n", ""))
    assert ran.stdout.count("\n") == 1


def test_names_that_are_not_read(tmp_path):
    """A config under another name, a parameter that is misspelt, a link to nothing."""
    folder = write_model(tmp_path, "named", CONFIG)
    (folder / "config.pbtxt").rename(folder / "Config.pbtxt")
    write_model(tmp_path, "key", CONFIG + 'parameters { key: "intra_op_threads_count" value { string_value: "1" } }')
    (write_model(tmp_path, "link") / "config.pbtxt").unlink()
    (tmp_path / "link" / "config.pbtxt").symlink_to("nowhere")
    (write_model(tmp_path, "zero", CONFIG) / "1").rename(tmp_path / "zero" / "0")
    found = {finding.model: finding for finding in generator.check(tmp_path)}
    assert found["named"].message == "Config.pbtxt is not read"
    assert found["key"].fix == "did you mean intra_op_thread_count?"
    assert (found["link"].level, found["link"].rule) == ("error", "broken-link")
    assert "zero" not in found


@pytest.mark.parametrize(
    ("rules", "message", "run", "why"),
    [
        (["backend-is-not-judged"], "unable to find backend library", False, "it does not look at all of it"),
        (["header-of"], "", False, "the embedded server's ONNX Runtime is a newer one"),
        ([], "Internal: onnx runtime error 1: no op", False, "only loading it shows that: --run"),
        ([], "Internal: onnx runtime error 1: no op", True, None),
        (["check-io"], "", False, None),
        ([], "unexpected inference output 'x'", False, None),
    ],
)
def test_what_server_may_not_call_a_defect(rules, message, run, why):
    """What check says that it does not judge, or cannot without running, is no difference."""
    found = [Finding("warning", "net", "net/config.pbtxt", None, rule, "", "") for rule in rules]
    told = not_judged(found, message, run=run)
    assert told is None if why is None else told.startswith(why)


def test_a_pointer_of_git_lfs(tmp_path):
    """Said, and what gets the file."""
    folder = write_model(tmp_path, "net", CONFIG)
    (folder / "1" / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (found,) = errors(generator.check(tmp_path))
    assert found.fix == "it is a pointer of Git LFS: `git lfs pull`"


def test_openvino_is_in_the_image(tmp_path):
    """NVIDIA's is built with it."""
    write_model(
        tmp_path,
        "net",
        SMALL_CONFIG + 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
    )
    assert errors(generator.check(tmp_path)) == []


@pytest.mark.parametrize("folder", ["net", "net/1", "empty"])
def test_folders_that_are_no_repository(tritongen, tmp_path, folder):
    """A model's own folder, a version's, an empty one."""
    (tmp_path / "empty").mkdir()
    write_model(tmp_path, "net", CONFIG)
    ran = tritongen("check", folder)
    assert ran.status == 1
    assert f"{folder} is not a model repository: " in ran.stderr


def test_nothing_is_executed(tmp_path):
    """A library and a model.py beside the model are seen and not loaded; the config alone is judged."""
    folder = write_model(tmp_path, "net", CONFIG.replace('"onnxruntime"', '"mine"'))
    (folder / "libtriton_mine.so").write_bytes(b"\x7fELF")
    python = write_model(tmp_path, "python", CONFIG.replace('"onnxruntime"', '"python"'))
    (python / "1" / "model.py").write_text("raise SystemExit('executed')")
    found = generator.check(tmp_path)
    assert [(finding.level, finding.rule) for finding in found] == [("warning", "backend-is-not-judged")] * 2


def test_no_torch_or_onnxruntime_without_run(tmp_path):
    """A check of files imports neither."""
    write_model(tmp_path, "net", CONFIG)
    code = (
        f"import sys, generator\ngenerator.check({str(tmp_path)!r})\n"
        "print(sorted({'torch', 'onnxruntime', 'onnxsim'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_findings_are_json(tmp_path):
    """Each field by name."""
    write_model(tmp_path, "net", SMALL_CONFIG.replace("[ 1000 ]", "[ 1001 ]"))
    ran = subprocess.run(
        [sys.executable, "-m", "generator", "check", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    (finding,) = [entry for entry in json.loads(ran.stdout) if entry["level"] == "error"]
    assert finding == {
        "level": "error", "model": "net", "file": "net/config.pbtxt", "line": 5, "rule": "check-io", "stage": "load",
        "message": finding["message"], "fix": finding["fix"],
    }  # fmt: skip
