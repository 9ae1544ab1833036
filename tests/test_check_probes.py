"""Configs made to learn the embedded Triton 2.51.0's sentence: one row per config; None means READY."""

import mutants
import pytest
from check_configs import errors
from helpers import write_model

import tritongen

BASE = (
    'backend: "onnxruntime" max_batch_size: 8 input { name: "input" data_type: TYPE_FP32 dims: [ 3, 4, 4 ] } '
    'output { name: "output" data_type: TYPE_FP32 dims: [ 10 ] } instance_group { count: 1 kind: KIND_CPU } '
)
WARM = 'model_warmup { name: "w" batch_size: %d inputs { key: "%s" value { data_type: TYPE_FP32 dims: [ %s ] zero_data: true } } %s}'
SEQUENCE = "sequence_batching { control_input { %s } }"
START = "control { kind: CONTROL_SEQUENCE_START %s }"
ADDED = [
    ("version_policy { }", None),
    ("version_policy { latest { } }", "at least one version must be available under the version policy of model 'net'"),
    ("version_policy { specific { versions: [ 7 ] } }", "at least one version must be available"),
    ("# \0", "Invalid control characters encountered in text."),
    ('metric_tags { key: "a" value: "b" } metric_tags { key: "a" value: "c" }', None),
    ("dynamic_batching { priority_levels: 2 }", "default priority level must be in range [1, 2] for net"),
    ("dynamic_batching { preserve_ordering: true default_queue_policy { timeout_action: DELAY } }", None),
    ("response_cache { enable: true } sequence_batching { }",
     "Response Cache does not currently support model net with sequence batching scheduler. Please disable"),
    (WARM % (1, "input", "3, 4, 4", 'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } '), None),
    (WARM % (1, "x", "3, 4, 4", ""), "expected 1 inputs but got 0 inputs for model 'net'. Got input(s) [], but missing"),
    (WARM % (1, "input", "3, 4", ""), "Expected [-1,3,4,4], got [1,3,4]. NOTE: Setting a non-zero max_batch_size in the"),
    (WARM % (1, "input", "3, -1, 4", ""), "warmup setting expects all variable-size dimensions are specified"),
    (WARM % (9, "input", "3, 4, 4", ""), "batch size 9 for 'net_0_0', max allowed is 8;"),
    (SEQUENCE % START % "int32_false_true: [ 0, 1 ]", "sequence batching control tensor must have a name for net"),
    (SEQUENCE % ('name: "s"' + START % ""), "sequence batching must specify either 'int32_false_true', 'fp32_false_true' or"),
    (SEQUENCE % ('name: "s"' + START % "fp32_false_true: [ 0 ]"), "'fp32_false_true' must have exactly 2 entries for CONTROL"),
    (SEQUENCE % ('name: "s"' + START % "fp32_false_true: [ 0, 1 ] int32_false_true: [ 0, 1 ]"), "specifies more than one from"),
    (SEQUENCE % 'name: "s" control { kind: CONTROL_SEQUENCE_CORRID }', "unexpected data type for control CONTROL_SEQUENCE_CORRID"),
    ("sequence_batching { direct { minimum_slot_utilization: 2.0 } }", "minimum slot utilization must be in range (0.0, 1.0]"),
    ("sequence_batching { oldest { preferred_batch_size: 16 } }", "sequence batching preferred batch size must be <= max batch"),
    ('batch_output { target_name: [ "output", "output" ] kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "input" }',
     "target output name 'output' can only be specified once for net"),
    ('batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "input" }', "Signal (11) received."),
    ('batch_input { kind: BATCH_ELEMENT_COUNT target_name: "x" data_type: TYPE_INT64 source_input: "input" }',
     "batch input data type must be TYPE_INT32 or TYPE_FP32 for net"),
    ('parameters { key: "intra_op_thread_count" value { string_value: "99999999999" } }', "failed to convert '99999999999'"),
    ('parameters { key: "intra_op_thread_count" value { string_value: "1abc" } }', None),
    ('runtime: "libx.so"', "unable to find backend library 'libx.so' for model 'net', searched: "),
    ('ensemble_scheduling { step { model_name: "x" } }', "ensemble scheduling cannot be set for model 'net' whose platform is"),
]  # fmt: skip
CHANGED = [
    ("max_batch_size: 8", "max_batch_size: +8", "Expected integer, got: +8"),
    ("max_batch_size: 8", "max_batch_size: 1_0", "Expected integer, got: 1_0"),
    ("max_batch_size: 8", "max_batch_size: 010", None),
    ("dims: [ 10 ]", "dims: [ 0xA ]", None),
    ("TYPE_FP32 dims: [ 3", "77 dims: [ 3", "unsupported datatype 77 for input 'input' for model 'net'"),
    ("TYPE_FP32 dims: [ 3", "11 dims: [ 3", None),
    ("KIND_CPU", "9", "instance group net_0 of model net has unexpected kind KIND_AUTO"),
    ("KIND_CPU", "KIND_CPU gpus: [ 0 ]", "instance group net_0 of model net has kind KIND_CPU but specifies one or more GPUs"),
    ("KIND_CPU", "KIND_AUTO gpus: [ 0 ]", "has kind KIND_CPU but specifies one or more GPUs"),
    ("dims: [ 10 ]", 'dims: [ 10 ] label_filename: "../outside.txt"', None),
    ("dims: [ 10 ]", 'dims: [ 10 ] label_filename: "/etc/hostname"', "net/etc/hostname: No such file or directory"),
    ("dims: [ 10 ]", 'dims: [ 10 ] label_filename: "1"', "std::length_error"),
    ("dims: [ 3", "is_non_linear_format_io: true dims: [ 3", "Non-linear IO format is only supported for the TensorRT platform"),
    ("dims: [ 3", "allow_ragged_batch: true dims: [ 3", "configuration expects model provides input with shape [-1]  for ragged"),
    ("dims: [ 3, 4, 4 ]", "reshape { shape: [ 3, 4, 4 ] }", "model input 'input' must specify 'dims' for net"),
    ("dims: [ 3, 4, 4 ]", "dims: [ 0, 4, 4 ]", "model input 'input' dimension must be integer >= 1, or -1 to indicate"),
    ('"onnxruntime"', '"onnx" "runtime"', None),
    ('"onnxruntime"', '"ONNXRuntime"', "unable to find backend library for backend 'ONNXRuntime'"),
    ('"onnxruntime"', '"python"', "Python model file not found in '"),
    ('"onnxruntime"', '"tensorflow"', "unexpected 'platform' and 'backend' pair, got:, tensorflow"),
]  # fmt: skip


def assert_error(tmp_path, config, sentence):
    """Assert that a check reports an error with the sentence, or no error for None."""
    write_model(tmp_path, "net", config, mutants.small())
    messages = [finding.message for finding in errors(tritongen.check(tmp_path))]
    assert messages == [] if sentence is None else any(sentence in message for message in messages), messages


@pytest.mark.parametrize(("text", "sentence"), ADDED)
def test_added_lines(tmp_path, text, sentence):
    """A line added to a valid config gets the server's sentence."""
    assert_error(tmp_path, BASE + text, sentence)


@pytest.mark.parametrize(("old", "new", "sentence"), CHANGED)
def test_changed_lines(tmp_path, old, new, sentence):
    """A change to a valid config gets the server's sentence."""
    assert old in BASE
    assert_error(tmp_path, BASE.replace(old, new, 1), sentence)


def test_invalid_utf8(tmp_path):
    """Triton skips invalid UTF-8 in a comment; in a string it ends the server."""
    for name, text, refused in (("comment", b"# \xff", False), ("string", b'metric_tags { key: "\xff" }', True)):
        folder = write_model(tmp_path / name, "net", BASE, mutants.small())
        (folder / "config.pbtxt").write_bytes(BASE.encode() + text)
        assert bool(errors(tritongen.check(tmp_path / name))) == refused
