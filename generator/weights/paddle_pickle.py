"""PaddleClas's `.pdparams`, a bare pickle of `{key: ndarray}`, read without running it.

After the scan it is unpickled with stand-ins in place of numpy's functions. They only keep what they are given; `array`
makes numpy's array of it once it is known to be one.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from generator.errors import quoted
from generator.weights.pickle_scan import ORDERED_DICT, Permit, Refused, Rules, walk

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

MOST_DIMS = 8
LARGEST_DIM = 2**48
# numpy's codes; Paddle writes a bfloat16 as the uint16 of the same bits.
ITEM_BYTES = {"f2": 2, "f4": 4, "f8": 8, "i1": 1, "i2": 2, "i4": 4, "i8": 8, "u1": 1, "u2": 2}


@dataclass
class Type:
    """Stands in for numpy's dtype."""

    code: object = None
    align: object = None
    copy: object = None
    state: Any = None

    def __setstate__(self, state: object) -> None:
        """Keep the state, which holds the byte order."""
        self.state = state


@dataclass
class Array:
    """Stands in for numpy's array: what a pickle says of one, unchecked."""

    shape: object = None
    type: object = None
    fortran: object = None
    content: object = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        """Keep the state but for the number of its version."""
        _, self.shape, self.type, self.fortran, self.content = state


def reconstruct(*_: object) -> Array:
    """Stands in for `_reconstruct`: an array whose state is to come."""
    return Array()


def from_buffer(content: object, dtype: object, shape: object, order: object) -> Array:
    """Stands in for `_frombuffer`, with which protocol 5 writes arrays."""
    return Array(shape, dtype, order == "F", content)


def encode(text: object, codec: object) -> bytes:
    """Stands in for `_codecs.encode`, with which protocol 2 writes bytes."""
    if not isinstance(text, str) or codec != "latin1":
        raise Refused("its pickle encodes something else than bytes")
    return text.encode("latin-1")


RECONSTRUCT = (Permit(called=True, built=True), reconstruct)
FROM_BUFFER = (Permit(called=True), from_buffer)
# What each name may be used for, and what stands in for it; numpy.core is numpy 1's, numpy._core numpy 2's.
STAND_INS: dict[str, tuple[Permit, object]] = {
    ORDERED_DICT: (Permit(called=True), OrderedDict),
    "numpy.core.multiarray._reconstruct": RECONSTRUCT,
    "numpy._core.multiarray._reconstruct": RECONSTRUCT,
    "numpy.core.numeric._frombuffer": FROM_BUFFER,
    "numpy._core.numeric._frombuffer": FROM_BUFFER,
    "numpy.ndarray": (Permit(), None),
    "numpy.dtype": (Permit(called=True, built=True, shared=True), Type),
    "_codecs.encode": (Permit(called=True, shared=True), encode),
}
RULES = Rules(
    {name: permit for name, (permit, _) in STAND_INS.items()},
    hint='save tensors only: paddle.save(model.state_dict(), "weights.pdparams")',
)


class Unpickler(pickle.Unpickler):
    """Knows the stand-ins and no other name."""

    def find_class(self, module: str, name: str) -> object:
        """The stand-in of a name.

        Raises:
            Refused: there is none.
        """
        full = f"{module}.{name}"
        if full not in STAND_INS:
            raise Refused(f"it names {quoted(full)}", RULES.hint)
        return STAND_INS[full][1]


def read(data: bytes) -> object:
    """What a bare pickle holds, with `Array` in place of numpy's arrays.

    Raises:
        Refused: it says more than a file of tensors says.
    """
    walk(io.BytesIO(data), RULES)
    return Unpickler(io.BytesIO(data)).load()


def array(told: Array) -> npt.NDArray[Any]:
    """The array that a stand-in was told of, in memory of its own.

    Raises:
        Refused: it is not a plain array of numbers; the sentence lacks its subject.
    """
    shape, content = told.shape, told.content if isinstance(told.content, bytes | bytearray) else b""
    code = told.type.code if isinstance(told.type, Type) else None
    if not isinstance(code, str) or code not in ITEM_BYTES:
        raise Refused(f"is of the numpy type {quoted(str(code))}, which is none of numbers")
    if not isinstance(shape, tuple) or len(shape) > MOST_DIMS or not all(map(is_dim, shape)):
        raise Refused("has no shape that a parameter has")
    needed = math.prod(shape) * ITEM_BYTES[code]
    if len(content) != needed:
        raise Refused(f"has {len(content)} bytes and the shape {list(shape)}, which takes {needed}")
    order = told.type.state[1] if isinstance(told.type, Type) and told.type.state else "="
    values = np.frombuffer(content, np.dtype(f"{order}{code}")).reshape(shape, order="F" if told.fortran else "C")
    return values.astype(code, order="C")


def is_dim(value: object) -> bool:
    """Whether it can be a length."""
    return type(value) is int and 0 <= value < LARGEST_DIM
