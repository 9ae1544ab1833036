"""What `check` finds, and for which server it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from generator.config.targets import Target

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: an error is what the server refuses, in its own words.

    `file` is from the repository on; `stage` is where the server says no (poll, version, load), or empty.
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
        """Whether it is about what is served without --model-config-name."""
        return "/configs/" not in f"/{self.file}"


@dataclass(frozen=True)
class JudgedFor:
    """The server that is judged for: a device and a release; a GPU is the only one of its host."""

    target: Target
    release: str

    @property
    def gpus(self) -> tuple[int, ...]:
        """Ids of its GPUs."""
        return (0,) if self.target.gpu else ()

    def __str__(self) -> str:
        """`a V100 server of 24.09`."""
        return f"a {self.target.title} server of {self.release}"
