"""Refused models in logs that a real Triton 2.51.0 wrote."""

import pytest

from generator.server.lifecycle import last_error, refusals

POLL = """\
I1124 05:17:43.100000 3096 pinned_memory_manager.cc:277] "Pinned memory pool disabled"
[libprotobuf ERROR /tmp/protobuf/text_format.cc:335] Error parsing text-format inference.ModelConfig: 3:14: Message type "inference.ModelConfig" has no field named "max_batchsize".
E1124 05:17:43.200000 3096 model_repository_manager.cc:1460] "Poll failed for model directory 'typo': failed to read text proto from /r/typo/config.pbtxt"
E1124 05:17:43.200001 3096 model_repository_manager.cc:1460] "Poll failed for model directory 'pref': dynamic batching preferred size must be <= max batch size for pref"
"""
VERSION = """\
E1124 05:17:43.300000 3096 model_repository_manager.cc:703] "failed to load model 'nover': at least one version must be available under the version policy of model 'nover'"
"""
LOAD = """\
E1124 05:17:45.400000 3096 model_lifecycle.cc:642] "failed to load 'label' version 1: Internal: failed to open text file for read /r/label/labels.txt: No such file or directory"
I1124 05:17:45.400001 3096 model_lifecycle.cc:777] "failed to load 'label'"
E1124 05:17:45.500000 3096 model_lifecycle.cc:642] "failed to load 'dims' version 1: Internal: TritonModelException: unexpected inference output 'prob', allowed outputs are: output\\n\\nAt:\\n  /b/onnxruntime/model.py(100): initialize\\n"
error: creating server: Internal - failed to load all models
"""
WARMUP = """\
E1124 05:17:46.000000 3096 model_lifecycle.cc:642] "failed to load 'warm' version 1: Invalid argument: failed to run warmup sample 'w': too large; too large; too large; "
"""


@pytest.mark.parametrize(
    ("log", "refused"),
    [
        (
            POLL,
            {
                "typo": "failed to read text proto from /r/typo/config.pbtxt (3:14: Message type "
                '"inference.ModelConfig" has no field named "max_batchsize".)',
                "pref": "dynamic batching preferred size must be <= max batch size for pref",
            },
        ),
        (VERSION, {"nover": "at least one version must be available under the version policy of model 'nover'"}),
        (
            LOAD,
            {
                "label": "Internal: failed to open text file for read /r/label/labels.txt: No such file or directory",
                "dims": "unexpected inference output 'prob', allowed outputs are: output",
            },
        ),
        (WARMUP, {"warm": "Invalid argument: failed to run warmup sample 'w': too large"}),
        ("", {}),
        ("no record at all\n", {}),
    ],
)
def test_refusals(log, refused):
    """Models are refused at the poll, at the version, and at the load; each has its reason."""
    assert refusals(log) == refused


def test_record_of_several_lines():
    """A record with line breaks is read as a whole."""
    assert refusals(LOAD.replace("\\n", "\n")) == refusals(LOAD)


def test_last_error():
    """The last error of the log, if no model was refused."""
    assert last_error("I0 fine\nerror: creating server: port is taken\n") == "error: creating server: port is taken"
    assert last_error("I0 fine\n") == "it gave no reason"
