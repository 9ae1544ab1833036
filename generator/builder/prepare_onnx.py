"""Prepare a user's ONNX file: simplify it and make its batch dynamic, if both are safe."""

import shlex
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from generator.builder.types import Prepared
from generator.config.types import BuildOptions
from generator.errors import BadValue, OnnxUnreadable, first_line
from generator.graph import load
from generator.graph.dynamic_batch import fixed_batch, with_dynamic_batch
from generator.graph.signature import OPEN, format_dims, signature, with_output_shapes
from generator.graph.simplify import keep_as_given, simplify
from generator.graph.types import Exported, Simplified
from generator.networks.user_networks import OnnxFile
from generator.system.files import sha256_of
from generator.types import Signature, Weights
from generator.verify import samples
from generator.verify.compare import row_dependence
from generator.verify.references import Feeds, OnnxReference, Reference, cpu_session


def prepare_onnx(name: str, definition: OnnxFile, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """Read and simplify a user's ONNX file; make a fixed batch dynamic if that is safe.

    Raises:
        OnnxUnreadable: ONNX Runtime cannot load or run the file.
        BadValue: an input has an open dimension.
    """
    path = definition.path
    on_step("weights")
    exported = load.read(path, definition.dims)
    signature(name, exported.model)  # raises early for a graph that Triton cannot serve
    try:
        reference = OnnxReference(path, fp16=load.uses_fp16(exported.model))
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses it: {first_line(error)}") from error
    on_step("simplify")
    simplified = simplify_if_possible(name, path, exported, options)
    served = with_dims(signature(name, simplified.model), definition.dims)
    if served.unbatched:
        simplified, served = make_batch_dynamic(name, path, simplified, served, reference)
        check_no_open_dims(path, served)
        rows = samples.without_single_row(served.inputs) if served.unbatched else served.inputs
        preprocessing = samples.image_preprocessing(rows, definition.image.given())
        check_runs(path, reference, samples.feeds(served.inputs, None if served.unbatched else 1, preprocessing))
    else:
        check_no_open_dims(path, served)
        preprocessing = samples.image_preprocessing(served.inputs, definition.image.given())
        check_runs(path, reference, samples.feeds(served.inputs, 1, preprocessing))
        reason = row_dependence(reference, served.inputs, preprocessing)
        served = with_dims(signature(name, simplified.model, unbatched=reason), definition.dims)
        check_no_open_dims(path, served)
    weights = Weights("onnx", file=path.name, sha256=sha256_of(path))
    return Prepared(exported.exporter, simplified, served, reference, weights, preprocessing)


def simplify_if_possible(name: str, path: Path, exported: Exported, options: BuildOptions) -> Simplified:
    """Simplify a graph; return it as given if that fails or ONNX Runtime refuses the result.

    Raises:
        OnnxUnreadable: ONNX Runtime refuses the given graph too.
    """
    why = "its data are too large for onnxsim"
    if not exported.sidecars:
        try:
            copy = replace(exported, model=deepcopy(exported.model))
            return with_inferred_shapes(simplify(name, copy, options.rewrites), path)
        except Exception as error:  # noqa: BLE001 (an error of onnxsim, onnx-ir or ONNX Runtime: the file may still be valid)
            why = first_line(error.__cause__ or error)
    try:
        return with_inferred_shapes(keep_as_given(exported, why), path)
    except OnnxUnreadable:
        # Fixed dims can invalidate a branch that is never taken; then only the config fixes them.
        return with_inferred_shapes(keep_as_given(load.read(path, {}), "with its inputs fixed it does not load"), path)


def with_inferred_shapes(simplified: Simplified, path: Path) -> Simplified:
    """Set the output shapes to those that ONNX Runtime infers, which a config must repeat.

    Raises:
        OnnxUnreadable: ONNX Runtime refuses the graph.
    """
    try:
        session = cpu_session(simplified.model.SerializeToString(), data_folder=path.parent)
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses its graph: {first_line(error)}") from error
    shapes = {output.name: output.shape for output in session.get_outputs()}
    return replace(simplified, model=with_output_shapes(simplified.model, shapes))


def with_dims(served: Signature, dims: Mapping[str, tuple[int, ...]]) -> Signature:
    """Set the dims of inputs, as a config may fix open dims; a shape without a name is that of the only input."""
    inputs = []
    for spec in served.inputs:
        shape = dims.get(spec.name) or (dims.get("", ()) if len(served.inputs) == 1 else ())
        known = len(shape) >= len(spec.dims) > 0
        inputs.append(replace(spec, dims=shape[len(shape) - len(spec.dims) :]) if known else spec)
    return replace(served, inputs=tuple(inputs))


def make_batch_dynamic(
    name: str, path: Path, simplified: Simplified, served: Signature, reference: OnnxReference
) -> tuple[Simplified, Signature]:
    """Make a fixed batch dynamic, and let the reference run it in parts; if unsafe, record the reason."""
    if simplified.sidecars:
        return simplified, replace(served, unbatched="its data are too large to be looked at")
    rows = fixed_batch(ir.from_proto(simplified.model).graph)
    if rows is None:
        return simplified, served
    model, reason = with_dynamic_batch(simplified.model)
    if reason:
        return simplified, replace(served, unbatched=f"its batch stays {rows}: {reason}")
    reference.rows = rows
    dynamic = with_inferred_shapes(replace(simplified, model=model), path)
    return dynamic, signature(name, dynamic.model)


def check_runs(path: Path, reference: Reference, feeds: Feeds) -> None:
    """Raise OnnxUnreadable if the reference cannot run sample inputs."""
    try:
        reference.run(feeds)
    except Exception as error:
        raise OnnxUnreadable(
            path,
            f"ONNX Runtime cannot run it on sample inputs: {first_line(error)}",
            "the samples are photographs, noise, and for integers 0 and 1",
        ) from error


def check_no_open_dims(path: Path, served: Signature) -> None:
    """Raise BadValue if an input has an open dimension."""
    for spec in served.inputs:
        if OPEN in spec.dims:
            first = spec.dims[:1] == (OPEN,) and served.unbatched is not None
            sizes = [1, *spec.dims[1:]] if first else list(spec.dims)
            shape = "x".join("224" if dim == OPEN else str(dim) for dim in sizes)
            why = f", and is not batched: {served.unbatched}" if served.unbatched else ""
            raise BadValue(
                "path", path, f"its input {spec.name!r} {format_dims(spec)} leaves a dimension open{why}",
                f"set it, such as `inputs={shlex.quote(f'{spec.name}:{shape}')}`",
            )  # fmt: skip
