"""The file of --config: options for all networks, and for some of them, in TOML.

max_batch_size = 16

[models."dpn*"]
preferred_batch_sizes = [8, 16]
accelerator = { trt_layer_norm_fp32_fallback = true }
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from generator.config.options import BY_NAME, Settings, settings
from generator.errors import BadValue, UnknownName, first_line
from generator.system.text import matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MODELS = "models"


@dataclass(frozen=True)
class ConfigFile:
    """What it says of all networks, and of those that a name or glob pattern matches, in its order."""

    common: Settings = field(default_factory=dict)
    models: tuple[tuple[str, Settings], ...] = ()

    def of(self, network: str) -> list[Settings]:
        """What it says of one network, the general before the particular."""
        return [self.common, *(said for pattern, said in self.models if matching(pattern, [network]))]


def read_config_file(path: Path, known: Iterable[str]) -> ConfigFile:
    """Read a file of options; `known` are the networks that it may name.

    Raises:
        BadValue: it cannot be read, is no TOML, or has a value that cannot be used.
        UnknownName: an option or a network that does not exist.
    """
    try:
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise BadValue("config", path, (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise BadValue("config", path, "it is not UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadValue("config", path, f"it is not TOML: {first_line(error)}") from error
    sections = document.pop(MODELS, {})
    if not isinstance(sections, dict):
        raise BadValue("config", path, "models must be tables, such as [models.dpn92]")
    known = list(known)
    common = section(path, "", document, (MODELS,))
    return ConfigFile(common, tuple(of_models(path, name, values, known) for name, values in sections.items()))


def of_models(path: Path, pattern: str, values: object, known: Sequence[str]) -> tuple[str, Settings]:
    """A table `[models.PATTERN]`."""
    if not isinstance(values, dict):
        raise BadValue("config", path, f"models.{pattern} must be a table: [models.{pattern}]")
    if not matching(pattern, known):
        raise UnknownName(f"network for [models.{pattern}] in {path}", pattern, known)
    return pattern, section(path, f"[models.{pattern}] ", values)


def section(path: Path, name: str, values: dict[str, object], others: tuple[str, ...] = ()) -> Settings:
    """The options of one table."""
    for key in values:
        if key not in BY_NAME:
            raise UnknownName(f"option in {f'{name}of ' if name else ''}{path}", key, (*BY_NAME, *others))
    return settings(values, lambda key: f"{path}: {name}{key}")
