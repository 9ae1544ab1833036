"""Findings of `check`, and the server that a check assumes."""

from dataclasses import dataclass
from typing import Literal

from generator.config.targets import Target

Level = Literal["error", "warning"]
ERROR: Level = "error"
WARNING: Level = "warning"
# Ids of rules that say that a check does not read or judge a part of the model.
BACKEND_UNCHECKED, FILE_OUTSIDE = "backend-is-not-judged", "file-is-elsewhere"
LABELS_OUTSIDE, DATA_OUTSIDE = "labels-outside", "data-outside"
PARTLY_CHECKED = frozenset({BACKEND_UNCHECKED, FILE_OUTSIDE, LABELS_OUTSIDE, DATA_OUTSIDE})
HEADER = "header-of"  # id of the rule that the release's ONNX Runtime reads the model
# The server's stages: it polls configs, chooses versions, loads them.
POLL, VERSION, LOAD = "poll", "version", "load"


@dataclass(frozen=True)
class Finding:
    """A problem in a repository: an error is what the server refuses, in its own words.

    `file` is relative to the repository; `rule` is the rule's id; `stage` is the stage in which the server refuses
    (poll, version, load), or empty for a warning.
    """

    level: Level
    model: str
    file: str
    line: int | None
    rule: str
    message: str
    fix: str
    stage: str = ""

    @property
    def default(self) -> bool:
        """True if it is about what a server loads without --model-config-name."""
        return "/configs/" not in f"/{self.file}"


@dataclass(frozen=True)
class AssumedServer:
    """The server that a check assumes: a device and a release; the host has at most one GPU."""

    target: Target
    release: str

    @property
    def gpus(self) -> tuple[int, ...]:
        """Ids of its GPUs."""
        return (0,) if self.target.gpu else ()
