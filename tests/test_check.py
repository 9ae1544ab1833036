"""`check`: the recorded verdicts of a real server, warnings, ensembles, running, the command."""

import pytest
from check_configs import CONFIG, NO_PROFILE, errors
from helpers import SMALL_CONFIG, onnx_model, write_model
from verdict_cases import CASES, lay_out

import tritongen
from generator.checker.rules.config_text import line_at, lines_of
from generator.errors import RepositoryNotFound
from tritongen import check


@pytest.mark.parametrize("run", [False, True], ids=["unrun", "run"])
@pytest.mark.parametrize("name", CASES)
def test_recorded_verdicts(tmp_path, name, run):
    """The verdict and the sentence are the server's, with its paths."""
    case = CASES[name]
    lay_out(case, tmp_path)
    found = errors(tritongen.check(tmp_path, run=run))
    assert ("refused" if found else "accepted") == case["verdict"]
    if found:
        sentence = case["message"].replace("<repository>", str(tmp_path))
        assert any(sentence in finding.message for finding in found)
        stage = "version" if case["stage"] == "abort" else case["stage"]
        assert stage in {finding.stage for finding in found}
        assert all(finding.fix for finding in found)


def test_valid_model_has_no_findings(tmp_path):
    """A valid model has no findings, also if it is run."""
    write_model(tmp_path, "net", CONFIG)
    assert tritongen.check(tmp_path, run=True) == ()


WARNINGS = {
    "labels-fit": (CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "labels.txt"'), "has 2 labels for the 1000"),
    "batching-without-batches": (
        CONFIG.replace("max_batch_size: 8", "")
        .replace("[ 3,", "[ -1, 3,")
        .replace("[ 1000", "[ -1, 1000")
        .replace("preferred_batch_size: [ 4, 8 ]", ""),
        "dynamic_batching does nothing if max_batch_size is 0",
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
        "random bytes, some of which are NaN",
    ),
    "accelerators-hurt": (NO_PROFILE, "dynamic batching without profiles"),
}


@pytest.mark.parametrize("rule", WARNINGS)
def test_warnings(tmp_path, rule):
    """A setting that loads but misbehaves is a warning with a hint, and no error."""
    config, sentence = WARNINGS[rule]
    (write_model(tmp_path, "net", config) / "labels.txt").write_text("a\nb\n")
    found = tritongen.check(tmp_path)
    assert errors(found) == []
    assert any(finding.rule == rule and sentence in finding.message and finding.fix for finding in found), found


def test_labels_must_be_as_many_as_the_classes(tmp_path):
    """999 and 1001 labels for 1000 classes are a warning, 1000 are not."""
    folder = write_model(tmp_path, "net", CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "labels.txt"'))
    for count, rules in ((999, ["labels-fit"]), (1000, []), (1001, ["labels-fit"])):
        (folder / "labels.txt").write_text("label\n" * count)
        assert [finding.rule for finding in tritongen.check(tmp_path)] == rules, count


@pytest.mark.parametrize(("policy", "broken"), [("", "2"), ("version_policy { latest { num_versions: 1 } }", "2"),
                                                ("version_policy { specific { versions: [ 1 ] } }", "1")])  # fmt: skip
def test_the_versions_that_triton_loads_are_checked(tmp_path, policy, broken):
    """The newest version is checked without a policy and with `latest`."""
    folder = write_model(tmp_path, "net", SMALL_CONFIG + policy)
    (folder / "2").mkdir()
    (folder / "2" / "model.onnx").write_bytes((folder / "1" / "model.onnx").read_bytes())
    assert tritongen.check(tmp_path) == ()
    (folder / broken / "model.onnx").write_bytes(b"no ONNX")
    (found,) = errors(tritongen.check(tmp_path))
    assert found.file == f"net/{broken}/model.onnx"


def test_an_open_dimension_of_the_model_may_be_fixed_for_inputs_only(tmp_path):
    """The server refuses an output with a size that the model leaves open, and takes such an input."""
    tensors = {"input": ["fp32", "N", "W"]}, {"output": ["fp32", "N", "W"]}
    config = """backend: "onnxruntime" max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [ 5 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ %d ] }"""
    folder = write_model(tmp_path, "net", config % -1, onnx_model([("Relu", ["input"], ["output"])], *tensors))
    assert tritongen.check(tmp_path) == ()
    (folder / "config.pbtxt").write_text(config % 5)
    (found,) = errors(tritongen.check(tmp_path))
    assert "tensor 'output': the model expects 2 dimensions (shape [-1,-1])" in found.message
    assert found.line == 3


def test_warmup_data_need_the_bytes_of_one_request(tmp_path):
    """Exactly as many bytes are enough; one byte fewer is refused."""
    sample = 'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 '
    folder = write_model(tmp_path, "net", f'{CONFIG}{sample}dims: [ 3, 224, 224 ] input_data_file: "raw" }} }} }}')
    (folder / "warmup").mkdir()
    wanted = 4 * 3 * 224 * 224
    (folder / "warmup" / "raw").write_bytes(bytes(wanted))
    assert errors(tritongen.check(tmp_path)) == []
    (folder / "warmup" / "raw").write_bytes(bytes(wanted - 1))
    (found,) = errors(tritongen.check(tmp_path))
    assert f"warmup setting expects {wanted} bytes" in found.message


def test_ensembles(tmp_path):
    """An ensemble's batch, models and tensors must match its steps."""
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
        found = errors(tritongen.check(tmp_path))
        assert [sentence in finding.message for finding in found] == ([True] if sentence else [])


STEP = 'step { model_name: "%s" model_version: -1 input_map { key: "%s" value: "%s" } output_map { key: "%s" value: "%s" } }'


def test_an_ensemble_takes_a_model_without_a_batch(tmp_path):
    """The model has the batch in its own dims (core, src/ensemble_scheduler/ensemble_utils.cc)."""
    unbatched = (
        SMALL_CONFIG.replace("max_batch_size: 8", "").replace("[ 3,", "[ -1, 3,").replace("[ 1000", "[ -1, 1000")
    )
    write_model(tmp_path, "net", unbatched.partition("dynamic_batching")[0])
    (tmp_path / "whole" / "1").mkdir(parents=True)
    (tmp_path / "whole" / "config.pbtxt").write_text(f"""platform: "ensemble" max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 1000 ] }}
ensemble_scheduling {{ {STEP % ("net", "input", "x", "output", "y")} }}""")
    assert tritongen.check(tmp_path) == ()


def test_ensembles_may_not_contain_each_other(tmp_path):
    """Two ensembles that contain each other are refused, also if that is a later step."""
    write_model(tmp_path, "net", SMALL_CONFIG.replace("[ 1000 ]", "[ 3, 224, 224 ]"), onnx_model(
        [("Relu", ["input"], ["output"])], {"input": ["fp32", "N", 3, 224, 224]}, {"output": ["fp32", "N", 3, 224, 224]},
    ))  # fmt: skip
    for name, second in (("first", "second"), ("second", "first")):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(f"""platform: "ensemble" max_batch_size: 8
input {{ name: "x" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }}
ensemble_scheduling {{ {STEP % ("net", "input", "x", "output", "between")} {STEP % (second, "x", "between", "y", "y")} }}""")
    found = errors(tritongen.check(tmp_path))
    assert {finding.model for finding in found} == {"first", "second"}
    assert all("circular dependency between ensembles" in finding.message for finding in found)


def test_running_finds_failing_batches(tmp_path):
    """A batch fixed by a run-time shape: the server loads the model, and fails requests."""
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
    assert tritongen.check(tmp_path) == ()
    (found,) = tritongen.check(tmp_path, run=True)
    assert (found.level, found.line) == ("warning", 1)
    assert (
        "a batch of 8 fails: onnx runtime error 1: Non-zero status code returned while running Reshape" in found.message
    )
    sample = 'model_warmup { name: "w" batch_size: 8 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } }'
    (folder / "config.pbtxt").write_text(config + sample)
    (found,) = tritongen.check(tmp_path, run=True)
    assert (found.level, found.line, found.stage) == ("error", 3, "load")
    assert found.message.startswith("Internal: failed to run warmup sample 'w': onnx runtime error 1: Non-zero")


SAMPLE = (
    'model_warmup { name: "w" batch_size: 2 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ %s ] %s } } %s}'
)
OTHER = 'inputs { key: "other" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } '


@pytest.mark.parametrize(
    ("config", "sample"),
    [
        (SMALL_CONFIG, SAMPLE % ("3, 224, 224", "zero_data: true", OTHER)),  # the server skips the unknown input
        (SMALL_CONFIG, SAMPLE % ("3, 224, 224", "random_data: true", "")),
        (SMALL_CONFIG, SAMPLE % ("3, 224, 224", 'input_data_file: "../../outside"', "")),
        (SMALL_CONFIG.replace("[ 3, 224, 224 ]", "[ 150528 ] reshape { shape: [ 3, 224, 224 ] }"),
         SAMPLE % ("150528", "zero_data: true", "")),
    ],
)  # fmt: skip
def test_samples_run_as_on_the_server(tmp_path, config, sample):
    """Unknown inputs are skipped, reshapes applied, outside files not read: no error (all READY on 2.51.0)."""
    write_model(tmp_path / "repository", "net", config + sample)
    (tmp_path / "outside").mkdir()  # to read it would fail
    assert errors(tritongen.check(tmp_path / "repository", run=True)) == []


def test_scalars_and_unlisted_outputs(tmp_path):
    """An input without dimensions has one element; an output that the config leaves out is ignored."""
    graph = onnx_model(
        [("Identity", ["x"], ["y"]), ("Shape", ["x"], ["s"]), ("Identity", ["a"], ["b"])],
        {"x": ["fp32", "N", 3], "a": ["fp32"]}, {"y": ["fp32", "N", 3], "s": ["int64", 2], "b": ["fp32"]},
    )  # fmt: skip
    config = """backend: "onnxruntime" max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2, 3 ] }, { name: "a" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] }, { name: "b" data_type: TYPE_FP32 dims: [ 1 ] } ]"""
    write_model(tmp_path, "net", config, graph)
    assert tritongen.check(tmp_path, run=True) == ()


def test_the_command(tritongen, tmp_path):
    """The command prints text, JSON or annotations, and exits with 0, 1 or 2."""
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
        (("check", "--triton", "new"), "--triton new: not a release of Triton"),
        (("check", "--json", "--github"), "--json and --github cannot be combined"),
        (("check", "--server", "--gpu", "t4"), "the embedded server runs on the CPU only"),
    ):
        ran = tritongen(*call)
        assert (ran.status, sentence in ran.stderr) == (1 if call[1] == "none" else 2, True)
    with pytest.raises(RepositoryNotFound):
        check(tmp_path / "none")


def test_line_numbers():
    """Line numbers are right in lists, with braces in strings, comments, both brackets, and adjacent strings."""
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
