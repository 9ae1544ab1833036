"""Render the text of a config.pbtxt; the template is the only file that is read."""

import hashlib
from pathlib import Path
from typing import Any

from generator.config.tensorrt_parameters import PROFILE_KEYS
from generator.config.types import BuildOptions, ConfigTensor, Described, DynamicBatching, ModelConfig, ServingOptions
from generator.errors import BadValue, TemplateUnusable
from generator.system.templates import render
from generator.types import PRECISIONS, Precision, Preprocessing, Signature, TensorSpec, Weights

CONFIG_TEMPLATE = "config.pbtxt.j2"
LABELS = "labels.txt"
MIB = 1 << 20
KEY_DIGITS = 12
BACKEND = "onnxruntime"


def default_config(model: Described, options: BuildOptions) -> ModelConfig:
    """Return the default variant, `config.pbtxt`.

    It must load under a plain `docker run … tritonserver` that mounts only the repository. The TensorRT provider
    creates its cache folder without parents, so the folder is directly below /tmp, which always exists.
    """
    precision = options.precision
    cache = f"/tmp/tritongen-{model.name}-{precision}"  # noqa: S108 (inside the server's container)
    return model_config(model, options.serving, precision, cache)


def target_configs(model: Described, options: BuildOptions) -> dict[str, ModelConfig]:
    """Return the variants in `configs/` by file name; their cache is in the folder that `serve` mounts at /cache."""
    return {
        f"{gpu}-{precision}.pbtxt": model_config(model, options.serving, precision, f"/cache/{model.name}-{precision}")
        for gpu in options.gpus
        for precision in PRECISIONS
    }


def model_config(model: Described, options: ServingOptions, precision: Precision, cache_path: str) -> ModelConfig:
    """Return one variant of a model's config."""
    signature = model.signature
    batched = not signature.unbatched
    largest = options.max_batch_size if batched else 0
    labels = LABELS if model.labelled else None
    batching = DynamicBatching(options.preferred_batch_sizes, options.max_queue_delay_us) if batched else None
    ends = tuple(sorted({1, largest or 1}))
    return ModelConfig(
        name=model.name,
        max_batch_size=largest,
        inputs=tuple(config_tensor(tensor, batched=batched) for tensor in signature.inputs),
        outputs=tuple(config_tensor(tensor, batched=batched, labels=labels) for tensor in signature.outputs),
        instance_count=options.instance_count,
        dynamic_batching=batching,
        response_cache=options.response_cache,
        accelerator=accelerator(model, options, precision, cache_path),
        warmup_batch_sizes=ends if options.warmup else (),
        parameters=(("tritongen.weights", model.weights.label), *preprocessing_parameters(model.preprocessing)),
    )


def config_tensor(tensor: TensorSpec, *, batched: bool, labels: str | None = None) -> ConfigTensor:
    """Return an input or output block; a scalar has dims [1], and in a batch it is reshaped to []."""
    reshape = () if batched and not tensor.dims else None
    return ConfigTensor(tensor.name, tensor.datatype, tensor.dims or (1,), reshape, labels)


def preprocessing_parameters(prep: Preprocessing | None) -> tuple[tuple[str, str], ...]:
    """Return the preprocessing of images as parameters for clients; none for a model without image input."""
    if prep is None:
        return ()
    return (
        ("tritongen.resize_short_px", str(prep.resize_short_px)),
        ("tritongen.crop_px", str(prep.crop_px)),
        ("tritongen.mean", ",".join(map(str, prep.mean))),
        ("tritongen.std", ",".join(map(str, prep.std))),
    )


def accelerator(
    model: Described, options: ServingOptions, precision: Precision, cache_path: str
) -> tuple[tuple[str, str], ...]:
    """Return the parameters of the `tensorrt` accelerator.

    ONNX Runtime names a cached engine by the structure of the graph, so a model with different weights would run the
    engine of the first (LeelaChessZero/lc0 #2214). The prefix therefore identifies the model and its engine options.
    """
    level = options.builder_optimization_level
    shaping = (
        ("precision_mode", precision.upper()),
        ("max_workspace_size_bytes", str(options.workspace_mib * MIB)),
        *((("trt_builder_optimization_level", str(level)),) if level is not None else ()),
        *(profile(model, options.profile) if not model.signature.unbatched else ()),
        *options.accelerator,
    )
    key = hashlib.sha256(repr((model.digest, shaping)).encode()).hexdigest()[:KEY_DIGITS]
    return (
        *shaping,
        ("trt_engine_cache_enable", "1"),
        ("trt_engine_cache_path", cache_path),
        ("trt_engine_cache_prefix", f"{model.name}-{key}"),
        ("trt_timing_cache_enable", "1"),
        ("trt_timing_cache_path", cache_path),
    )


def profile(model: Described, batch_sizes: tuple[int, int, int]) -> tuple[tuple[str, str], ...]:
    """Return exactly one profile, whose maximum is `max_batch_size`.

    Outside a profile TensorRT rebuilds the engine during live traffic; a second profile fails (onnxruntime #31624).
    """

    def shapes(batch_size: int) -> str:
        return ",".join(f"{t.name}:{'x'.join(map(str, (batch_size, *t.dims)))}" for t in model.signature.inputs)

    return tuple((key, shapes(size)) for key, size in zip(PROFILE_KEYS, batch_sizes, strict=True))


def config_text(model: ModelConfig, template_dir: Path | None = None) -> str:
    """Render one variant; raise TemplateUnusable if that fails, or the result is not a valid config."""
    text = render(CONFIG_TEMPLATE, template_dir, model=model)
    check_config_text(text, model, template_dir)
    return text


def check_config_text(text: str, model: ModelConfig, template_dir: Path | None) -> None:
    """Raise TemplateUnusable unless the text is a valid config of the model by Triton's schema.

    A template must not change values that follow from the graph and the options and are in `provenance.json`.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        why = " ".join(str(error).split())
        raise TemplateUnusable(CONFIG_TEMPLATE, template_dir, f"the result is not a valid config: {why}") from error
    datatypes = model_config_pb2.DataType
    for what, given, wanted in (
        ("name", config.name, model.name),
        ("backend", config.backend, BACKEND),
        ("max_batch_size", config.max_batch_size, model.max_batch_size),
        ("inputs", tensors(config.input, datatypes), [(t.name, t.datatype, t.dims) for t in model.inputs]),
        ("outputs", tensors(config.output, datatypes), [(t.name, t.datatype, t.dims) for t in model.outputs]),
    ):
        if given != wanted:
            why = f"the {what} of {model.name} must be {wanted}, but it gives {given}"
            raise TemplateUnusable(CONFIG_TEMPLATE, template_dir, why)


def tensors(blocks: Any, datatypes: Any) -> list[tuple[str, str, tuple[int, ...]]]:  # noqa: ANN401 (protobuf's)
    """Return name, type and dims of each block."""
    return [(block.name, datatypes.Name(block.data_type), tuple(block.dims)) for block in blocks]


def check_templates(template_dir: Path) -> None:
    """Render a user's template for a batched and an unbatched example model, before anything is built.

    Raises:
        BadValue: the folder has no template.
        TemplateUnusable: the template cannot be rendered, or its result is not a valid config.
    """
    if not (template_dir / CONFIG_TEMPLATE).is_file():
        hint = "copy the built-in template and edit it"
        raise BadValue("template_dir", template_dir, f"has no {CONFIG_TEMPLATE}", hint)
    image, classes = TensorSpec("input", "TYPE_FP32", (3, 224, 224)), TensorSpec("output", "TYPE_FP32", (1000,))
    options = ServingOptions(builder_optimization_level=3, response_cache=True)
    for unbatched in (None, "a stand-in"):
        signature = Signature((image,), (classes,), unbatched)
        model = Described("stand-in", signature, Weights("random", 0), Preprocessing(), labelled=True, digest="0" * 64)
        config_text(model_config(model, options, "fp16", "/cache/stand-in"), template_dir)
