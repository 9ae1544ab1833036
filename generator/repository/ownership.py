"""Whose a model in a repository is: what tritongen did not make, it does not replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.errors import TritongenError
from generator.repository.layout import CONFIG_FILE, LARGEST_BYTES, PROVENANCE_FILE, SEAL

if TYPE_CHECKING:
    from pathlib import Path

    from generator.repository.model_files import Published
    from generator.repository.s3.url import S3Url

# What these files of ours say, in every version of tritongen, and nobody else's do.
WORDS = {CONFIG_FILE: b'key: "tritongen.weights"', PROVENANCE_FILE: f'"{SEAL}"'.encode()}


def is_ours(model: Published) -> bool:
    """Whether tritongen made it; one of the two files may have been edited, or be gone.

    Raises:
        OSError: they cannot be read.
    """
    names = model.names()
    return any(name in names and words in model.read(name, LARGEST_BYTES) for name, words in WORDS.items())


def not_ours(place: Path | S3Url) -> TritongenError:
    """Said of a model that stays as it is."""
    return TritongenError(
        f"{place} was not made by tritongen and would be replaced", "move it away, or choose another `output`"
    )
