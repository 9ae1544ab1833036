"""The configs that a server would read of a repository: which file, and what it says of engines and caches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from generator.errors import BadValue
from generator.repository.layout import CONFIG_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from generator.repository.source import Source


RESPONSE_CACHE_BYTES = 64 << 20
RESPONSE_CACHE_FLAG = f"--cache-config=local,size={RESPONSE_CACHE_BYTES}"


@dataclass(frozen=True)
class ServedConfig:
    """A model's config as Triton's schema reads it; None where it is missing or not readable, which Triton will say."""

    model: str
    path: Path
    message: Any | None

    @property
    def response_cache(self) -> bool:
        """Whether it asks for the response cache."""
        return self.message is not None and self.message.response_cache.enable

    @property
    def tensorrt(self) -> dict[str, str] | None:
        """The parameters of its `tensorrt` accelerator."""
        if self.message is None:
            return None
        accelerators = self.message.optimization.execution_accelerators.gpu_execution_accelerator
        return next((dict(entry.parameters) for entry in accelerators if entry.name == "tensorrt"), None)


def served_configs(repository: Path, variant: str | None, models: Sequence[str] = ()) -> tuple[ServedConfig, ...]:
    """Each model's config: `configs/<variant>.pbtxt` where it is, else `config.pbtxt`, as Triton chooses."""
    folders = sorted(entry for entry in repository.iterdir() if entry.is_dir())
    return tuple(read(folder, variant) for folder in folders if not models or folder.name in models)


def read(folder: Path, variant: str | None) -> ServedConfig:
    """One model's."""
    from tritonclient.grpc import model_config_pb2

    path = folder / "configs" / f"{variant}.pbtxt"
    if variant is None or not path.is_file():
        path = folder / CONFIG_FILE
    try:
        text = path.read_text() if path.is_file() else ""  # to open a pipe would wait for ever
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        message = None
    return ServedConfig(folder.name, path, message)


def check_variant(source: Source, variant: str | None, parameter: str) -> None:
    """Raise BadValue where no model has the variant: Triton would serve every default without a word."""
    if variant is None:
        return
    there = sorted({path.stem for path in source.folder.glob("*/configs/*.pbtxt")})
    if variant not in there:
        known = f"there: {', '.join(there)}" if there else "`tritongen build --gpu` writes them"
        raise BadValue(parameter, variant, f"no model in {source.named} has configs/{variant}.pbtxt", known)


def without_variant(configs: Iterable[ServedConfig]) -> list[str]:
    """The models that are served by `config.pbtxt`."""
    return [config.model for config in configs if config.path.name == CONFIG_FILE]
