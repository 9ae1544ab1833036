"""An ONNX file of the user's own: simplified where that is sound, batched where that is safe."""

from __future__ import annotations

import shlex
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from generator.builder.prepared import Prepared, preprocessing_of
from generator.errors import BadValue, OnnxUnreadable, first_line
from generator.graph import load
from generator.graph.dynamic_batch import rows_of, with_dynamic_batch
from generator.graph.signature import OPEN, shown, signature, with_output_shapes
from generator.graph.simplify import as_given, simplify
from generator.system.files import sha256_of
from generator.types import Weights
from generator.verify import samples
from generator.verify.references import OnnxReference, cpu_session
from generator.verify.row_independence import mixing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from generator.config.types import BuildOptions
    from generator.graph.types import Exported, Simplified
    from generator.networks.user_networks import OnnxFile
    from generator.types import Signature, TensorSpec
    from generator.verify.references import Feeds, Reference


def from_onnx(name: str, definition: OnnxFile, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """An ONNX file of the user's; a batch of fixed size becomes a dynamic one where that is safe."""
    path = definition.path
    on_step("weights")
    exported = load.read(path, definition.dims)
    signature(name, exported.model)  # what cannot be served is refused before anything is done with it
    reference = given(path, exported)
    on_step("simplify")
    simplified = soundest(name, path, exported, options)
    served = narrowed(signature(name, simplified.model), definition.dims)
    if served.unbatched:
        simplified, served = batched(name, path, simplified, served, reference)
        check_closed(path, served)
        rows = samples.of_one_row(served.inputs) if served.unbatched else served.inputs
        preprocessing = preprocessing_of(definition, rows)
        tried(path, reference, samples.feeds(served.inputs, None if served.unbatched else 1, preprocessing))
    else:
        check_closed(path, served)
        preprocessing = preprocessing_of(definition, served.inputs)
        tried(path, reference, samples.feeds(served.inputs, 1, preprocessing))
        reason = mixing(reference, served.inputs, preprocessing)
        served = narrowed(signature(name, simplified.model, unbatched=reason), definition.dims)
        check_closed(path, served)
    weights = Weights("onnx", file=path.name, sha256=sha256_of(path))
    return Prepared(exported.exporter, simplified, served, reference, weights, preprocessing)


def soundest(name: str, path: Path, exported: Exported, options: BuildOptions) -> Simplified:
    """Simplified, if that can be done and ONNX Runtime takes what comes out of it; else as it was given.

    Raises:
        OnnxUnreadable: ONNX Runtime takes none of it.
    """
    why = "its data are too large for onnxsim"
    if not exported.sidecars:
        try:
            copy = replace(exported, model=deepcopy(exported.model))
            return loaded(simplify(name, copy, options.rewrites), path)
        except Exception as error:  # noqa: BLE001 (onnxsim's, onnx-ir's or ONNX Runtime's: the file may still be good)
            why = first_line(error.__cause__ or error)
    try:
        return loaded(as_given(exported, why), path)
    except OnnxUnreadable:
        # Fixed dims can make a branch that is never taken impossible; then the config alone fixes them.
        return loaded(as_given(load.read(path, {}), "with its inputs fixed it does not load"), path)


def loaded(simplified: Simplified, path: Path) -> Simplified:
    """The graph with the shapes of its outputs as ONNX Runtime infers them: a config must repeat them.

    Raises:
        OnnxUnreadable: ONNX Runtime does not take it.
    """
    try:
        session = cpu_session(simplified.model.SerializeToString(), data_folder=path.parent)
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses its graph: {first_line(error)}") from error
    shapes = {output.name: output.shape for output in session.get_outputs()}
    return replace(simplified, model=with_output_shapes(simplified.model, shapes))


def narrowed(served: Signature, dims: Mapping[str, tuple[int, ...]]) -> Signature:
    """With the dims that the user said, as a config may narrow what a graph leaves open."""
    return replace(served, inputs=tuple(narrow(spec, dims, len(served.inputs)) for spec in served.inputs))


def narrow(spec: TensorSpec, dims: Mapping[str, tuple[int, ...]], inputs: int) -> TensorSpec:
    """One input; a shape without a name is the only input's."""
    said = dims.get(spec.name) or (dims.get("", ()) if inputs == 1 else ())
    return replace(spec, dims=said[len(said) - len(spec.dims) :] if len(said) >= len(spec.dims) > 0 else spec.dims)


def batched(
    name: str, path: Path, simplified: Simplified, served: Signature, reference: OnnxReference
) -> tuple[Simplified, Signature]:
    """With its fixed batch made a dynamic one, which the reference then answers in parts; or why not, as it was."""
    if simplified.sidecars:
        return simplified, replace(served, unbatched="its data are too large to be looked at")
    rows = rows_of(simplified.model)
    if rows is None:
        return simplified, served
    model, reason = with_dynamic_batch(simplified.model)
    if reason:
        return simplified, replace(served, unbatched=f"its batch stays {rows}: {reason}")
    reference.rows = rows
    dynamic = loaded(replace(simplified, model=model), path)
    return dynamic, signature(name, dynamic.model)


def given(path: Path, exported: Exported) -> OnnxReference:
    """The file as ONNX Runtime takes it.

    Raises:
        OnnxUnreadable: it does not.
    """
    try:
        return OnnxReference(path, half=load.in_half(exported.model))
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses it: {first_line(error)}") from error


def tried(path: Path, reference: Reference, feeds: Feeds) -> None:
    """Raise OnnxUnreadable where it cannot answer at all."""
    try:
        reference.run(feeds)
    except Exception as error:
        raise OnnxUnreadable(
            path,
            f"ONNX Runtime cannot run it on sample inputs: {first_line(error)}",
            "the samples are photographs, noise, and for integers 0 and 1",
        ) from error


def check_closed(path: Path, served: Signature) -> None:
    """Raise BadValue where an input has a dimension that nobody has said."""
    for spec in served.inputs:
        if OPEN in spec.dims:
            first = spec.dims[:1] == (OPEN,) and served.unbatched is not None
            sizes = [1, *spec.dims[1:]] if first else list(spec.dims)
            shape = "x".join("224" if dim == OPEN else str(dim) for dim in sizes)
            why = f", and is not batched: {served.unbatched}" if served.unbatched else ""
            raise BadValue(
                "path", path, f"its input {spec.name!r} {shown(spec)} leaves a dimension open{why}",
                f"set it, such as `inputs={shlex.quote(f'{spec.name}:{shape}')}`",
            )  # fmt: skip
