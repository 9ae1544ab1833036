"""From a specification to the text of a config.pbtxt: pure, and strict about undefined names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from google.protobuf.text_encoding import CEscape

from generator.spec import PRECISIONS, ModelConfig, TensorRT

if TYPE_CHECKING:
    from generator.spec import BuildOptions, Described, Precision, Preprocessing

PREFERRED_BATCH_SIZES = (4, 8)
MAX_QUEUE_DELAY_US = 100
WORKSPACE_BYTES = 1 << 30  # the TensorRT provider's own default, written out
LABELS = "labels.txt"


def default_config(model: Described, options: BuildOptions) -> ModelConfig:
    """The variant of `config.pbtxt`.

    It must load under a plain `docker run … tritonserver` with nothing mounted but the repository. The provider
    makes its cache folder without parents, so it stands one level below /tmp, which always exists.
    """
    precision = options.precision
    cache = f"/tmp/tritongen-{model.name}-{precision}"  # noqa: S108 (inside the server's container)
    return model_config(model, options, precision, cache)


def target_configs(model: Described, options: BuildOptions) -> dict[str, ModelConfig]:
    """The variants of `configs/`, by file name; their cache lies in the folder that `serve` mounts at /cache."""
    return {
        f"{gpu}-{precision}.pbtxt": model_config(model, options, precision, f"/cache/{model.name}-{precision}")
        for gpu in options.gpus
        for precision in PRECISIONS
    }


def model_config(model: Described, options: BuildOptions, precision: Precision, cache_path: str) -> ModelConfig:
    """One variant of a network's config."""
    signature = model.signature
    largest = 0 if signature.unbatched else options.max_batch_size
    return ModelConfig(
        name=model.name,
        max_batch_size=largest,
        inputs=signature.inputs,
        outputs=signature.outputs,
        preferred_batch_sizes=tuple(size for size in PREFERRED_BATCH_SIZES if size <= largest) or (largest,),
        max_queue_delay_us=MAX_QUEUE_DELAY_US,
        instance_count=1,
        label_filename=LABELS if model.labelled else None,
        tensorrt=TensorRT(precision, cache_path, WORKSPACE_BYTES),
        warmup_batch_sizes=tuple(sorted({1, largest or 1})),
        parameters=(("tritongen.weights", model.weights.label), *preprocessing_parameters(model.preprocessing)),
    )


def preprocessing_parameters(prep: Preprocessing | None) -> tuple[tuple[str, str], ...]:
    """How an image becomes the input, for clients; nothing where the input is no image."""
    if prep is None:
        return ()
    return (
        ("tritongen.resize_short_px", str(prep.resize_short_px)),
        ("tritongen.crop_px", str(prep.crop_px)),
        ("tritongen.mean", ",".join(map(str, prep.mean))),
        ("tritongen.std", ",".join(map(str, prep.std))),
    )


def accelerator_parameters(model: ModelConfig) -> list[tuple[str, str]]:
    """Key and value of each parameter of the `tensorrt` accelerator.

    Only keys that onnxruntime_backend knows since r24.04; booleans as 1 or 0, since the raw string goes to
    ONNX Runtime.
    """
    trt = model.tensorrt
    return [
        ("precision_mode", trt.precision.upper()),
        ("max_workspace_size_bytes", str(trt.workspace_bytes)),
        ("trt_engine_cache_enable", "1"),
        ("trt_engine_cache_path", trt.cache_path),
        ("trt_timing_cache_enable", "1"),
        ("trt_timing_cache_path", trt.cache_path),
        *profile(model),
    ]


def profile(model: ModelConfig) -> list[tuple[str, str]]:
    """Exactly one profile, whose maximum is `max_batch_size`; none where every shape is fixed.

    Outside it TensorRT would rebuild the engine on live traffic, and a second profile's inputs fail
    (onnxruntime #31624).
    """
    if model.max_batch_size == 0:
        return []

    def shapes(batch_size: int) -> str:
        return ",".join(f"{t.name}:{'x'.join(map(str, (batch_size, *t.dims)))}" for t in model.inputs)

    return [
        ("trt_profile_min_shapes", shapes(1)),
        ("trt_profile_opt_shapes", shapes(model.max_batch_size)),
        ("trt_profile_max_shapes", shapes(model.max_batch_size)),
    ]


def config_text(model: ModelConfig) -> str:
    """`config.pbtxt` of one variant."""
    template = environment().get_template("config.pbtxt.j2")
    return template.render(model=model, accelerator=accelerator_parameters(model))


def environment() -> jinja2.Environment:
    """Jinja that fails on an undefined name instead of writing nothing."""
    env = jinja2.Environment(  # noqa: S701 (no HTML is made; strings pass through `quote`)
        loader=jinja2.FileSystemLoader(template_folder()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters["quote"] = quote
    return env


def quote(text: str) -> str:
    """A protobuf text-format string literal."""
    return f'"{CEscape(text, as_utf8=True)}"'


def template_folder() -> Path:
    """`templates/`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    packaged = package / "templates"
    return packaged if packaged.is_dir() else package.parent / "templates"
