"""The embedded server's verdict on every model of a repository: the stage and the sentence of a refusal."""

import os
import shutil
from pathlib import Path

import pytest
from helpers import SMALL_CONFIG, processes_of, write_model

from generator.errors import RepositoryNotFound
from generator.server.verdicts import Verdict, poll_refusals, refused, server_verdicts

pytestmark = pytest.mark.server

TOO_LARGE = SMALL_CONFIG.replace("[ 4, 8 ]", "[ 4, 16 ]")
WRONG_DIMS = SMALL_CONFIG.replace("[ 1000 ]", "[ 10 ]")
NO_LABELS = SMALL_CONFIG.replace("dims: [ 1000 ]", 'dims: [ 1000 ] label_filename: "labels.txt"')
WARM_UP = """
model_warmup {
  name: "w"
  batch_size: 1
  inputs { key: "input" value { data_type: TYPE_INT32 dims: [ 3, 224, 224 ] zero_data: true } }
}
"""
ENSEMBLE = """
platform: "ensemble"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ 1000 ] }
ensemble_scheduling {
  step {
    model_name: "STEP"
    model_version: -1
    input_map { key: "input" value: "input" }
    output_map { key: "output" value: "output" }
  }
}
"""
QUOTED = "l': qu\"ote's"
SHELL = "$(touch ran); `touch ran` & (x)"
DIMS_SENTENCE = (
    "model '{}', tensor 'output': the model expects 2 dimensions (shape [-1,1000]) but the model configuration "
    "specifies 2 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit tensor "
    "shape, making complete shape [-1,10])"
)
TYPO_SENTENCE = '{}: Message type "inference.ModelConfig" has no field named "{}".'
TOO_LARGE_SENTENCE = "dynamic batching preferred size must be <= max batch size for {}"
ABORTED = "terminate called after throwing an instance of 'std::out_of_range' what(): stoll"


def ready(name):
    return Verdict(name, "ready")


def no(name, stage, message, detail=""):
    return Verdict(name, stage, message, detail)


def write_all(repository):
    """Write models that are refused at every stage, and valid models between them."""
    write_model(repository, "a-good")
    write_model(repository, "typo", SMALL_CONFIG.replace("max_batch_size", "max_batchsize"))
    write_model(repository, "typo-2", SMALL_CONFIG + "batching: 1\n")
    write_model(repository, "quote-open", SMALL_CONFIG + 'wrong "\n')
    write_model(repository, "preferred", TOO_LARGE)
    write_model(repository, f"preferred {QUOTED}", TOO_LARGE)
    write_model(repository, "preferred größe\n模型", TOO_LARGE)
    shutil.rmtree(write_model(repository, "no-version") / "1")
    write_model(repository, "dims", WRONG_DIMS)
    write_model(repository, f"dims {QUOTED}", WRONG_DIMS)
    write_model(repository, "labels größe", NO_LABELS)
    write_model(repository, "warm-up", SMALL_CONFIG + WARM_UP)
    write_model(repository, f"good {QUOTED}")
    write_model(repository, SHELL)
    (write_model(repository, "huge") / "1").rename(repository / "huge" / ("9" * 20))
    write_model(repository, "ensemble", ENSEMBLE.replace("STEP", "a-good"))
    write_model(repository, "ensemble-broken", ENSEMBLE.replace("STEP", "preferred"))
    write_model(repository, "z-good", SMALL_CONFIG.replace("count: 1", "count: 2"))
    Path(os.fsdecode(os.fsencode(repository) + b"/latin-\xe9")).mkdir()


def test_every_stage(tmp_path):
    """Each model has its stage and sentence, although one model ends the server."""
    repository = tmp_path / "repo sitory"
    repository.mkdir()
    write_all(repository)
    verdicts = server_verdicts(repository)
    expected = [
        ready("a-good"),
        no("typo", "poll", text_proto(repository / "typo"), TYPO_SENTENCE.format("3:14", "max_batchsize")),
        no("typo-2", "poll", text_proto(repository / "typo-2"), TYPO_SENTENCE.format("8:9", "batching")),
        no(
            "quote-open",
            "poll",
            text_proto(repository / "quote-open"),
            "8:8: String literals cannot cross line boundaries.; " + TYPO_SENTENCE.format("8:7", "wrong"),
        ),
        *[
            no(name, "poll", TOO_LARGE_SENTENCE.format(name))
            for name in ("preferred", f"preferred {QUOTED}", "preferred größe\n模型")
        ],
        no(
            "no-version",
            "version",
            "at least one version must be available under the version policy of model 'no-version'",
        ),
        *[no(name, "load", DIMS_SENTENCE.format(name)) for name in ("dims", f"dims {QUOTED}")],
        no(
            "labels größe",
            "load",
            f"Internal: failed to open text file for read {repository}/labels größe/labels.txt: "
            "No such file or directory",
        ),
        no(
            "warm-up",
            "load",
            "Invalid argument: [request id: <id_unknown>] inference input 'input' data-type is 'INT32', "
            "but model 'warm-up' expects 'FP32'",
        ),
        ready(f"good {QUOTED}"),
        ready(SHELL),
        no("huge", "abort", ABORTED),
        ready("ensemble"),
        no(
            "ensemble-broken",
            "load",
            "ensemble ensemble-broken contains models that are not available or ambiguous: preferred",
        ),
        ready("z-good"),
        no("latin-\udce9", "poll", "the name is not UTF-8: no client can ask for it"),
    ]
    assert verdicts == {verdict.model: verdict for verdict in expected}
    assert list(verdicts) == sorted(verdicts)
    assert processes_of(str(tmp_path)) == []
    assert list(Path("/dev/shm").glob(f"tritongen_{os.getpid()}_*")) == []
    assert not Path("ran").exists()


def text_proto(folder):
    """Return the message about a config that cannot be parsed."""
    return f"failed to read text proto from {folder}/config.pbtxt"


def test_chosen_models(tmp_path):
    """Verdicts have the order of the given names; an unknown name is refused at the poll."""
    for name in ("b", "a", "unasked"):
        write_model(tmp_path, name)
    verdicts = server_verdicts(tmp_path, ["b", "nowhere", "a"])
    expected = [ready("b"), no("nowhere", "poll", "model not found in any model repository."), ready("a")]
    assert list(verdicts.values()) == expected
    assert server_verdicts(tmp_path, []) == {}


def test_crashing_stub(tmp_path):
    """A crashed stub never loads: the server is stopped after a time limit, and another checks the rest."""
    write_model(tmp_path, "crash", SMALL_CONFIG.replace("onnxruntime", "python"))
    (tmp_path / "crash" / "1" / "model.py").write_text("import os\nos.abort()\n")
    write_model(tmp_path, "good")
    (write_model(tmp_path, "huge") / "1").rename(tmp_path / "huge" / ("9" * 20))
    verdicts = server_verdicts(tmp_path, ["huge", "crash", "good"], patience_s=10)
    assert verdicts == {
        "huge": no("huge", "abort", ABORTED),
        "crash": no("crash", "abort", "no answer in 10 s"),
        "good": ready("good"),
    }
    assert processes_of(str(tmp_path)) == []


def test_unicode_name(tmp_path):
    """A Unicode name is served as any other."""
    write_model(tmp_path, "größe-模型")
    assert server_verdicts(tmp_path) == {"größe-模型": ready("größe-模型")}


def test_two_versions(tmp_path):
    """The verdict on a model is the first refusal of its versions."""
    write_model(tmp_path, "two", SMALL_CONFIG + "version_policy { all {} }\n")
    (tmp_path / "two" / "2").mkdir()
    (tmp_path / "two" / "2" / "model.onnx").write_bytes(b"nonsense")
    path = tmp_path / "two" / "2" / "model.onnx"
    (verdict,) = server_verdicts(tmp_path).values()
    assert verdict == no("two", "load", f"onnx runtime error 7: Load model from {path} failed:Protobuf parsing failed.")


def test_no_repository(tmp_path):
    """A folder without models is an error."""
    with pytest.raises(RepositoryNotFound, match="it holds no models"):
        server_verdicts(tmp_path)


def test_load_errors():
    """A load error with several versions, or about an ensemble's step, gives one sentence."""
    of_two = "load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: a;version 2 is at UNAVAILABLE state: Internal: b;\n"
    assert refused("m", of_two) == no("m", "load", "Internal: a")
    of_a_step = (
        "load failed for model 'e': ensemble 'e' depends on 'm' which has no loaded version. Model 'm' loading failed "
        "with error: version 1 is at UNAVAILABLE state: Internal: TritonModelException: no\n\nAt:\n  /model.py(9): f\n;\n"
    )
    assert refused("e", of_a_step).message.endswith("Internal: TritonModelException: no")


def test_poll_log():
    """The longest matching name wins; details belong to the record that follows them."""
    log = """\
[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: 1:2: what
E1124 14:06:34.1 15491 model_repository_manager.cc:1460] "Poll failed for model directory 'unasked': failed to read text proto from u"
E1124 14:06:34.1 15491 model_repository_manager.cc:1460] "Poll failed for model directory 'a': b': \\"why\\""
"""
    assert poll_refusals(log, ["a", "a': b"]) == {"a': b": no("a': b", "poll", '"why"')}
