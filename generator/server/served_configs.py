"""The configs that a server would read from a repository, and the arguments of tritonserver for them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from generator.errors import BadValue
from generator.repository.layout import CONFIG_FILE
from generator.repository.source import Source

RESPONSE_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class ServedConfig:
    """The config of a model in Triton's schema; `message` is None if the file is missing or invalid."""

    model: str
    path: Path
    message: Any | None

    @property
    def response_cache(self) -> bool:
        """Return True if the config asks for the response cache."""
        return self.message is not None and self.message.response_cache.enable


def tensorrt_parameters(config: Any | None) -> dict[str, str] | None:  # noqa: ANN401 (a protobuf message)
    """Return the parameters of the TensorRT accelerator of a config message, or None without one."""
    if config is None:
        return None
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    return next((dict(entry.parameters) for entry in accelerators if entry.name == "tensorrt"), None)


def served_configs(repository: Path, variant: str | None, models: Sequence[str] = ()) -> tuple[ServedConfig, ...]:
    """Read the config of each model: `configs/<variant>.pbtxt` if that file exists, else `config.pbtxt`."""
    folders = sorted(entry for entry in repository.iterdir() if entry.is_dir())
    return tuple(read_config(folder, variant) for folder in folders if not models or folder.name in models)


def read_config(folder: Path, variant: str | None) -> ServedConfig:
    """Read the config of one model."""
    from tritonclient.grpc import model_config_pb2

    path = folder / "configs" / f"{variant}.pbtxt"
    if variant is None or not path.is_file():
        path = folder / CONFIG_FILE
    try:
        text = path.read_text() if path.is_file() else ""  # opening a pipe would block
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        message = None
    return ServedConfig(folder.name, path, message)


def check_variant(source: Source, variant: str | None, parameter: str) -> None:
    """Raise BadValue if no model has the variant: Triton would silently serve every default config."""
    if variant is None:
        return
    variants = sorted({path.stem for path in source.folder.glob("*/configs/*.pbtxt")})
    if variant not in variants:
        hint = f"variants: {', '.join(variants)}" if variants else "`tritongen build` writes configs for GPUs"
        raise BadValue(parameter, variant, f"no model in {source.named} has configs/{variant}.pbtxt", hint)


def variant_notes(configs: Iterable[ServedConfig], variant: str | None) -> list[str]:
    """Return a note on the models that do not have the variant, or no note if all have it."""
    others = [config.model for config in configs if config.path.name == CONFIG_FILE]
    note = f"served with config.pbtxt, without configs/{variant}.pbtxt: {', '.join(others)}"
    return [note] if variant and others else []


def triton_arguments(variant: str | None, models: Sequence[str], *, response_cache: bool) -> list[str]:
    """Return the arguments of tritonserver that do not depend on the engine; no `models` are all of them."""
    line = ["--strict-readiness=true", "--exit-on-error=true"]
    if variant:
        line.append(f"--model-config-name={variant}")
    if response_cache:
        line.append(f"--cache-config=local,size={RESPONSE_CACHE_BYTES}")
    if models:
        line += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in models)]
    return line
