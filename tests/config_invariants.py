"""The invariants of every written config: one function per invariant, and a change that breaks it."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from generator.config.tensorrt_parameters import BY_KEY

OLDEST_TAG = "24.05"  # the oldest release of any target


@dataclass(frozen=True)
class Written:
    """A config as Triton's schema reads it, its path in the model's folder, and the requested options."""

    config: object
    path: str
    name: str
    max_batch_size: int
    precision: str

    @property
    def accelerator(self):
        """Return the parameters of its one accelerator."""
        (entry,) = self.config.optimization.execution_accelerators.gpu_execution_accelerator
        return dict(entry.parameters)


def name_matches_the_folder(written):
    assert written.config.name == written.name


def backend_is_onnxruntime(written):
    assert (written.config.backend, written.config.platform) == ("onnxruntime", "")


def batch_is_the_requested_one(written):
    assert written.config.max_batch_size == written.max_batch_size


def version_policy_is_written(written):
    assert written.config.version_policy.latest.num_versions == 1


def inputs_are_complete(written):
    assert [(i.name, i.data_type, list(i.dims)) for i in written.config.input] == [("input", 11, [3, 224, 224])]


def outputs_are_complete(written):
    assert [(o.name, o.data_type, list(o.dims)) for o in written.config.output] == [("output", 11, [1000])]


def labels_are_named(written):
    assert written.config.output[0].label_filename == "labels.txt"


def one_instance_without_a_kind(written):
    assert [(group.count, group.kind, list(group.gpus)) for group in written.config.instance_group] == [(1, 0, [])]


def preferred_sizes_fit(written):
    preferred = list(written.config.dynamic_batching.preferred_batch_size)
    assert preferred
    assert all(1 <= size <= written.max_batch_size for size in preferred)


def queue_delay_is_written(written):
    assert written.config.dynamic_batching.max_queue_delay_microseconds > 0


def accelerator_is_tensorrt(written):
    assert [a.name for a in written.config.optimization.execution_accelerators.gpu_execution_accelerator] == [
        "tensorrt"
    ]


def accelerator_has_a_parameter(written):
    """Check that the accelerator has a parameter: without one the backend does not pass the device on (onnxruntime.cc)."""
    assert written.accelerator


def every_key_is_known_to_the_oldest_image(written):
    assert all(key in BY_KEY and BY_KEY[key].since <= OLDEST_TAG for key in written.accelerator)


def precision_matches_the_variant(written):
    assert written.accelerator["precision_mode"] == written.precision.upper()


def switches_are_1_or_0(written):
    """ONNX Runtime gets the string as it is written."""
    assert all(value in "01" for key, value in written.accelerator.items() if BY_KEY[key].kind == "switch")


def engines_and_timings_are_cached(written):
    assert written.accelerator["trt_engine_cache_enable"] == written.accelerator["trt_timing_cache_enable"] == "1"


def workspace_is_written(written):
    assert int(written.accelerator["max_workspace_size_bytes"]) > 0


def cache_has_an_existing_parent(written):
    """The provider creates the folder without its parents: every container has /tmp, and `serve` mounts /cache."""
    parent = "/tmp" if written.path == "config.pbtxt" else "/cache"
    assert str(PurePosixPath(written.accelerator["trt_engine_cache_path"]).parent) == parent
    assert str(PurePosixPath(written.accelerator["trt_timing_cache_path"]).parent) == parent


def cache_is_separate_per_precision(written):
    assert written.accelerator["trt_engine_cache_path"].endswith(f"{written.name}-{written.precision}")


def engine_prefix_is_unique_per_model(written):
    assert re.fullmatch(rf"{re.escape(written.name)}-[0-9a-f]{{12}}", written.accelerator["trt_engine_cache_prefix"])


def one_profile_ends_at_the_largest_batch(written):
    smallest, best, largest = (
        int(re.fullmatch(r"input:(\d+)x3x224x224", written.accelerator[f"trt_profile_{end}_shapes"]).group(1))
        for end in ("min", "opt", "max")
    )
    assert 1 == smallest <= best <= largest == written.max_batch_size


def smallest_and_largest_batch_are_warmed_up(written):
    assert {sample.batch_size for sample in written.config.model_warmup} == {1, written.max_batch_size}


def warm_up_is_zeros(written):
    """Random data are random bytes, some of which are NaN."""
    for sample in written.config.model_warmup:
        assert [(key, entry.zero_data) for key, entry in sample.inputs.items()] == [("input", True)]
        assert list(sample.inputs["input"].dims) == [3, 224, 224]


def weights_are_recorded(written):
    assert written.config.parameters["tritongen.weights"].string_value == "random (seed 0)"


# Each invariant with a change to densenet121's configs/v100-fp32.pbtxt, largest batch 8, that breaks it.
INVARIANTS = {
    name_matches_the_folder: ('name: "densenet121"', 'name: "densenet169"'),
    backend_is_onnxruntime: ('backend: "onnxruntime"', 'platform: "onnxruntime_onnx"'),
    batch_is_the_requested_one: ("max_batch_size: 8", "max_batch_size: 16"),
    version_policy_is_written: ("version_policy { latest { num_versions: 1 } }", ""),
    inputs_are_complete: ("dims: [ 3, 224, 224 ]\n}", "dims: [ 224, 224, 3 ]\n}"),
    outputs_are_complete: ("dims: [ 1000 ]", ""),
    labels_are_named: ('label_filename: "labels.txt"', ""),
    one_instance_without_a_kind: ("count: 1", "count: 1 kind: KIND_GPU"),
    preferred_sizes_fit: ("[ 4, 8 ]", "[ 4, 16 ]"),
    queue_delay_is_written: ("max_queue_delay_microseconds: 100", ""),
    accelerator_is_tensorrt: ('name: "tensorrt"', 'name: "TensorRT"'),
    accelerator_has_a_parameter: (r'      parameters \{ key: "\w+" value: ".*" \}\n', ""),
    every_key_is_known_to_the_oldest_image: ("trt_engine_cache_enable", "trt_engine_cache_enabled"),
    precision_matches_the_variant: ('"FP32"', '"fp32"'),
    switches_are_1_or_0: ('"trt_timing_cache_enable" value: "1"', '"trt_timing_cache_enable" value: "on"'),
    engines_and_timings_are_cached: ('"trt_engine_cache_enable" value: "1"', '"trt_engine_cache_enable" value: "0"'),
    workspace_is_written: ('"1073741824"', '"0"'),
    cache_has_an_existing_parent: ("/cache/densenet121-fp32", "/cache/24.09/densenet121-fp32"),
    cache_is_separate_per_precision: ("/cache/densenet121-fp32", "/cache/densenet121"),
    engine_prefix_is_unique_per_model: (r"densenet121-[0-9a-f]{12}", "densenet121"),
    one_profile_ends_at_the_largest_batch: ("input:8x3x224x224", "input:16x3x224x224"),
    smallest_and_largest_batch_are_warmed_up: ("batch_size: 1\n", "batch_size: 2\n"),
    warm_up_is_zeros: ("zero_data: true", "random_data: true"),
    weights_are_recorded: ("tritongen.weights", "weights"),
}
