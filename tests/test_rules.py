"""The rules that `check` and the embedded server share, with the onnxruntime backend's sentences."""

import pytest

from generator.checker.rules.basics import Refusal
from generator.checker.rules.session_parameters import session_settings
from generator.checker.rules.tensors import ModelTensor, check_io

INPUT = ModelTensor("input", "TYPE_FP32", (-1, 3, 224, 224))
OUTPUT = ModelTensor("output", "TYPE_FP32", (-1, 1000))


def config(**changes):
    """Return a config that fits the model, as Triton hands it to a backend, with changed fields."""
    return {
        "name": "net",
        "max_batch_size": 8,
        "input": [{"name": "input", "data_type": "TYPE_FP32", "dims": [3, 224, 224]}],
        "output": [{"name": "output", "data_type": "TYPE_FP32", "dims": [1000]}],
        **changes,
    }


def an_input(**changes):
    """Return the input block with changed fields."""
    return {"input": [{**config()["input"][0], **changes}]}


def an_output(**changes):
    """Return the output block with changed fields."""
    return {"output": [{**config()["output"][0], **changes}]}


@pytest.mark.parametrize(
    ("changes", "inputs", "outputs"),
    [
        ({}, [INPUT], [OUTPUT]),
        ({"output": []}, [INPUT], [OUTPUT]),
        ({}, [ModelTensor("input", "TYPE_FP32", (-1, 3, -1, -1))], [OUTPUT]),  # the config may fix a dimension of an input
        ({"max_batch_size": 0, **an_input(dims=[-1, 3, 224, 224]), **an_output(dims=[-1, 1000])}, [INPUT], [OUTPUT]),
        (an_input(dims=[150528], reshape={"shape": [3, 224, 224]}), [INPUT], [OUTPUT]),
        (an_input(dims=["3", "224", "224"]), [INPUT], [OUTPUT]),  # int64 may come as JSON strings
        ({"max_batch_size": 0, **an_input(dims=[1]), **an_output(dims=[1])},
         [ModelTensor("input", "TYPE_FP32", ())], [ModelTensor("output", "TYPE_FP32", ())]),
    ],
)  # fmt: skip
def test_matching_configs_pass(changes, inputs, outputs):
    """The backend loads each of these configs."""
    check_io(config(**changes), inputs, outputs)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input": []}, "unable to load model 'net', configuration expects 0 inputs, model provides 1"),
        (
            an_input(optional=True),
            "unable to load model 'net', configuration expects 0 inputs, model provides 1",
        ),
        (an_input(name="data"), "unexpected inference input 'data', allowed inputs are: input"),
        (an_output(name="prob"), "unexpected inference output 'prob', allowed outputs are: output"),
        (
            an_input(data_type="TYPE_FP16"),
            "unable to load model 'net', configuration expects datatype TYPE_FP16 for input 'input', model provides TYPE_FP32",
        ),
        (an_output(data_type="TYPE_BF16"), "unsupported datatype TYPE_BF16 for output 'output' for model 'net'"),
        (
            an_input(dims=[3, 224]),
            "model 'net', tensor 'input': the model expects 4 dimensions (shape [-1,3,224,224]) but the model "
            "configuration specifies 3 dimensions (an initial batch dimension because max_batch_size > 0 followed by "
            "the explicit tensor shape, making complete shape [-1,3,224])",
        ),
        (
            an_output(dims=[-1]),  # the config may not leave a dimension of an output open
            "model 'net', tensor 'output': the model expects 2 dimensions (shape [-1,1000]) but the model configuration "
            "specifies 2 dimensions (an initial batch dimension because max_batch_size > 0 followed by the explicit "
            "tensor shape, making complete shape [-1,-1])",
        ),
        (
            {"max_batch_size": 0},
            "model 'net', tensor 'input': the model expects 4 dimensions (shape [-1,3,224,224]) but the model "
            "configuration specifies 3 dimensions (shape [3,224,224])",
        ),
        (
            an_input(allow_ragged_batch=True),
            "unable to load model 'net', configuration expects model provides input with shape [-1]  for ragged input "
            "'input', model provides [-1,3,224,224]",
        ),
    ],
)
def test_mismatches_are_refused(changes, sentence):
    """Each mismatch has the C++ backend's sentence."""
    with pytest.raises(Refusal) as caught:
        check_io(config(**changes), [INPUT], [OUTPUT])
    assert str(caught.value) == sentence


def test_fixed_batch_is_refused():
    """max_batch_size needs a model with an open first dimension."""
    with pytest.raises(Refusal) as caught:
        check_io(config(), [ModelTensor("input", "TYPE_FP32", (1, 3, 224, 224))], [OUTPUT])
    assert str(caught.value) == (
        "model 'net', tensor 'input': for the model to support batching the shape should have at least 1 dimension and "
        "the first dimension must be -1; but shape expected by the model is [1,3,224,224]"
    )


def test_sequence_controls_count_as_inputs():
    """The sequence batcher's controls and states add to the expected inputs."""
    batching = {
        "control_input": [{"name": "START", "control": [{"kind": "CONTROL_SEQUENCE_START"}]}],
        "state": [{"input_name": "in", "output_name": "out"}],
    }
    with pytest.raises(Refusal, match="expects 3 inputs, model provides 1"):
        check_io(config(sequence_batching=batching), [INPUT], [OUTPUT])


def parameters(**values):
    """Return a config with model parameters."""
    return config(parameters={key: {"string_value": value} for key, value in values.items()})


def test_session_settings():
    """The defaults are the C++ backend's; parameters and the graph level change them."""
    plain = session_settings(config())
    assert (plain.graph_level, plain.parallel, plain.intra_op_threads) == ("ORT_ENABLE_ALL", False, 0)
    assert plain.mem_arena
    assert plain.mem_pattern
    changed = session_settings(
        parameters(execution_mode="1", intra_op_thread_count="3", inter_op_thread_count="2", enable_mem_arena="OFF")
    )
    assert (changed.parallel, changed.intra_op_threads, changed.inter_op_threads) == (True, 3, 2)
    assert not changed.mem_arena
    levels = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL", 7: "ORT_ENABLE_ALL"}
    for level, name in levels.items():
        assert session_settings(config(optimization={"graph": {"level": level}})).graph_level == name


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (parameters(execution_mode="abc"), "failed to convert 'abc' to integral number"),
        (parameters(execution_mode=""), "failed to convert '' to integral number"),
        (
            parameters(execution_mode="2"),
            "Invalid configuration value provided. Expected values for  execution_mode are 0 or 1 but got 2 .",
        ),
        (parameters(intra_op_thread_count="abc"), "failed to convert 'abc' to integral number"),
        (parameters(enable_mem_arena="maybe"), "failed to convert 'maybe' to boolean"),
        (
            config(optimization={"execution_accelerators": {"cpu_execution_accelerator": [{"name": "foo"}]}}),
            "unknown Execution Accelerator 'foo' is requested",
        ),
    ],
)
def test_wrong_settings_are_refused(wrong, sentence):
    """Each wrong setting has the C++ backend's sentence."""
    with pytest.raises(Refusal) as caught:
        session_settings(wrong)
    assert str(caught.value) == sentence


def test_cpu_ignores_gpu_accelerators():
    """A CPU server ignores GPU accelerators, even wrong ones."""
    accelerators = {"gpu_execution_accelerator": [{"name": "nonsense", "parameters": {"precision_mode": "fp99"}}]}
    session_settings(config(optimization={"execution_accelerators": accelerators}))
