"""PaddleClas's `.pdparams`, a bare pickle of `{key: ndarray}`, read without running it.

After the scan the file is unpickled with stand-ins for numpy's functions. The stand-ins only keep their arguments;
`array` checks them and makes numpy's array.
"""

import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from generator.errors import quoted
from generator.weights.pickle_scan import ORDERED_DICT, Permit, Refused, Rules, walk

MOST_DIMS = 8
LARGEST_DIM = 2**48
# By numpy's codes; Paddle writes a bfloat16 as the uint16 with the same bits.
ITEM_BYTES = {"f2": 2, "f4": 4, "f8": 8, "i1": 1, "i2": 2, "i4": 4, "i8": 8, "u1": 1, "u2": 2}


@dataclass
class Type:
    """Stand-in for numpy's dtype."""

    code: object = None
    align: object = None
    copy: object = None
    state: Any = None

    def __setstate__(self, state: object) -> None:
        """Keep the state, which holds the byte order."""
        self.state = state


@dataclass
class Array:
    """Stand-in for numpy's array: the claims of a pickle, unchecked."""

    shape: object = None
    type: object = None
    fortran: object = None
    content: object = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        """Keep the state without its version number."""
        _, self.shape, self.type, self.fortran, self.content = state


def reconstruct(*_: object) -> Array:
    """Stand-in for `_reconstruct`: an array whose state follows."""
    return Array()


def from_buffer(content: object, dtype: object, shape: object, order: object) -> Array:
    """Stand-in for `_frombuffer`, which protocol 5 uses for arrays."""
    return Array(shape, dtype, order == "F", content)


def encode(text: object, codec: object) -> bytes:
    """Stand-in for `_codecs.encode`, which protocol 2 uses for bytes."""
    if not isinstance(text, str) or codec != "latin1":
        raise Refused("its pickle encodes something other than bytes")
    return text.encode("latin-1")


RECONSTRUCT = (Permit(called=True, built=True), reconstruct)
FROM_BUFFER = (Permit(called=True), from_buffer)
# For each name: the permitted uses, and the stand-in. numpy.core is numpy 1's, numpy._core numpy 2's.
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
    """An unpickler that finds the stand-ins and no other name."""

    def find_class(self, module: str, name: str) -> object:
        """Return the stand-in for a name; raise Refused if there is none."""
        full = f"{module}.{name}"
        if full not in STAND_INS:
            raise Refused(f"it names {quoted(full)}", RULES.hint)
        return STAND_INS[full][1]


def read(data: bytes) -> object:
    """Unpickle a bare pickle, with `Array` for numpy's arrays; raise Refused if it does more than tensors need."""
    walk(io.BytesIO(data), RULES)
    return Unpickler(io.BytesIO(data)).load()


def array(claimed: Array) -> np.ndarray[Any, Any]:
    """Make the array that a stand-in describes, in memory of its own; the caller adds a Refused's subject."""
    shape, content = claimed.shape, claimed.content if isinstance(claimed.content, bytes | bytearray) else b""
    code = claimed.type.code if isinstance(claimed.type, Type) else None
    if not isinstance(code, str) or code not in ITEM_BYTES:
        raise Refused(f"has the numpy type {quoted(str(code))}, which is not supported")
    if not isinstance(shape, tuple) or len(shape) > MOST_DIMS:
        raise Refused("has an invalid shape")
    if not all(type(length) is int and 0 <= length < LARGEST_DIM for length in shape):
        raise Refused("has an invalid shape")
    needed = math.prod(shape) * ITEM_BYTES[code]
    if len(content) != needed:
        raise Refused(f"has {len(content)} bytes, but the shape {list(shape)} needs {needed}")
    order = claimed.type.state[1] if isinstance(claimed.type, Type) and claimed.type.state else "="
    values = np.frombuffer(content, np.dtype(f"{order}{code}")).reshape(shape, order="F" if claimed.fortran else "C")
    return values.astype(code, order="C")
