"""Whether the rows of a batch are apart: only then may a server answer several requests at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from generator.errors import first_line
from generator.verify import samples
from generator.verify.compare import compare

if TYPE_CHECKING:
    from generator.types import Preprocessing, TensorSpec
    from generator.verify.references import Array, Feeds, Reference

SAME = 1e-5  # of the largest value: the same kernels at the same size give the same bits, if they are deterministic
# The first row of each pair is the second of the next: every row comes first and last, beside another each time.
PAIRS = ([0, 1], [2, 0], [1, 2])


def mixing(reference: Reference, inputs: tuple[TensorSpec, ...], preprocessing: Preprocessing | None) -> str | None:
    """Why an open first dimension is no batch: the answer to a row changes with the row beside it, or its place.

    Args:
        reference: the network, which can answer one row.
        inputs: their dims without the batch.
        preprocessing: how photographs become its input, where it takes images.
    """
    three = samples.feeds(inputs, 3, preprocessing)
    try:
        answers = [reference.run(chosen(three, pair)) for pair in PAIRS]
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the network's)
        return f"it does not take two rows at once: {first_line(error)}"
    if any(np.shape(output)[:1] != (2,) for answer in answers for output in answer):
        return "its outputs have another number of rows than its inputs"
    for answer, following in zip(answers, [*answers[1:], answers[0]], strict=True):
        first, last = [output[:1] for output in answer], [output[1:] for output in following]
        if not compare(first, last, 1, ranked=False).relative_error <= SAME:
            return "its answer to one row depends on the other rows"
    return None


def chosen(feeds: Feeds, rows: list[int]) -> dict[str, Array]:
    """Some rows of every input."""
    return {name: array[rows] for name, array in feeds.items()}
