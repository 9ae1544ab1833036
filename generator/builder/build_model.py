"""Build one model: weights, export, simplify, verify, and the files around the graph."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import nn

from generator.builder.provenance import Provenance, versions
from generator.builder.staleness import Job, network_record, with_texts
from generator.config.types import BuildOptions
from generator.errors import BadValue, NetworkUnusable, OnnxUnreadable, first_line
from generator.graph.datatypes import zeros
from generator.graph.dynamic_batch import fixed_batch, with_dynamic_batch
from generator.graph.export import ROWS, export
from generator.graph.load import read as read_onnx
from generator.graph.load import uses_fp16
from generator.graph.signature import signature
from generator.graph.simplify import keep_as_given, serialized, simplify
from generator.graph.types import BUILD_METHOD, Exported, GraphFacts, Simplified
from generator.networks import INPUT
from generator.networks.user_networks import OnnxFile, TorchNetwork
from generator.repository import folder, layout
from generator.system.files import digests, sha256_of
from generator.system.native import return_memory
from generator.types import OPEN, Preprocessing, Signature, Weights
from generator.verify import samples
from generator.verify.compare import row_dependence, verify
from generator.verify.references import OnnxReference, Reference, TorchReference, cpu_session
from generator.weights.load import load
from generator.weights.random_init import random_network


@dataclass(frozen=True)
class Prepared:
    """A network as a simplified graph, with the reference to verify it against."""

    exporter: str
    simplified: Simplified
    signature: Signature
    reference: Reference
    weights: Weights
    preprocessing: Preprocessing | None


def build_model(job: Job, staged: Path, on_step: Callable[[str], None]) -> tuple[Provenance, dict[str, bytes]]:
    """Write a verified graph into the folder `staged`; return the model's provenance and its other files.

    `on_step` is called with the name of each step when it begins.

    Raises:
        TritongenError: the model cannot be built, or its answers differ from those of the network.
    """
    prepared = prepare(job, on_step)
    simplified = prepared.simplified
    graph: dict[str, bytes | Path | Iterator[bytes]] = {
        layout.MODEL_FILE: serialized(simplified.model),
        **{f"{layout.VERSION}/{name}": path for name, path in simplified.sidecars.items()},
    }
    folder.write_model(staged, graph)
    return_memory()  # the exporter's copies of the weights

    on_step("verify")
    certificate = verify(
        job.network.name,
        staged / layout.MODEL_FILE,
        simplified.model,
        prepared.reference,
        prepared.signature,
        preprocessing=prepared.preprocessing,
        tolerance=job.options.tolerance,
    )

    on_step("publish")
    model = simplified.model
    provenance = Provenance(
        network=network_record(job),
        weights=prepared.weights,
        preprocessing=prepared.preprocessing,
        options=job.options,
        template=None,
        graph=GraphFacts(
            exporter=prepared.exporter,
            ir_version=model.ir_version,
            opset={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
            nodes_exported=simplified.nodes_before,
            nodes=simplified.nodes_after,
            rewrites=dict(simplified.rewrites),
            unsimplified=simplified.unsimplified,
            method=BUILD_METHOD,
        ),
        signature=prepared.signature,
        certificate=certificate,
        versions=versions(),
        blake3=digests({name: staged / name for name in graph}),
    )
    return with_texts(job, provenance)


def prepare(job: Job, on_step: Callable[[str], None]) -> Prepared:
    """Load the weights, export and simplify a network; raise TritongenError if Triton cannot serve its graph."""
    network, options = job.network, job.options
    match network.definition.resolve():
        case OnnxFile() as definition:
            return prepare_onnx(network.name, definition, options, on_step)
        case TorchNetwork() as definition:
            return prepare_torch(network.name, definition, options, on_step)
        case _:
            on_step("weights")
            if isinstance(job.weights, int):
                module, weights = random_network(network, job.weights)
                preprocessing = Preprocessing()
            else:
                module, weights, preprocessing = load(network, job.weights)
            on_step("export")
            exported = export(network.name, module, (INPUT,), ("output",))
            on_step("simplify")
            simplified = simplify(network.name, exported, options.rewrites)
            served = signature(network.name, simplified.model)
            return Prepared(exported.exporter, simplified, served, TorchReference(module), weights, preprocessing)


def prepare_onnx(name: str, definition: OnnxFile, options: BuildOptions, on_step: Callable[[str], None]) -> Prepared:
    """Read and simplify a user's ONNX file; make a fixed batch dynamic if that is safe.

    Raises:
        OnnxUnreadable: ONNX Runtime cannot load or run the file.
        BadValue: an input has an open dimension.
    """
    path = definition.path
    on_step("weights")
    exported = read_onnx(path, definition.dims)
    signature(name, exported.model)  # raises early for a graph that Triton cannot serve
    try:
        reference = OnnxReference(path, fp16=uses_fp16(exported.model))
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses it: {first_line(error)}") from error
    on_step("simplify")
    simplified = simplify_if_possible(name, path, exported, options)
    served = with_dims(signature(name, simplified.model), definition.dims)
    open_batch = not served.unbatched
    if served.unbatched:
        simplified, served = make_batch_dynamic(name, path, simplified, served, reference)
    check_no_open_dims(path, served)
    rows = samples.without_single_row(served.inputs) if served.unbatched else served.inputs
    preprocessing = samples.image_preprocessing(rows, definition.image.given())
    try:
        reference.run(samples.feeds(served.inputs, None if served.unbatched else 1, preprocessing))
    except Exception as error:
        raise OnnxUnreadable(
            path,
            f"ONNX Runtime cannot run it on sample inputs: {first_line(error)}",
            "the samples are photographs, noise, and for integers 0 and 1",
        ) from error
    if open_batch:
        reason = row_dependence(reference, served.inputs, preprocessing)
        served = with_dims(signature(name, simplified.model, unbatched=reason), definition.dims)
        check_no_open_dims(path, served)
    weights = Weights("onnx", file=path.name, sha256=sha256_of(path))
    return Prepared(exported.exporter, simplified, served, reference, weights, preprocessing)


def simplify_if_possible(name: str, path: Path, exported: Exported, options: BuildOptions) -> Simplified:
    """Simplify a graph, or return it as given; raise OnnxUnreadable if ONNX Runtime refuses the given graph too."""
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
        return with_inferred_shapes(keep_as_given(read_onnx(path, {}), "with its inputs fixed it does not load"), path)


def with_inferred_shapes(simplified: Simplified, path: Path) -> Simplified:
    """Set the output shapes to those that ONNX Runtime infers, which a config must repeat, and remove inner shapes."""
    try:
        session = cpu_session(simplified.model.SerializeToString(), data_folder=path.parent)
    except Exception as error:
        raise OnnxUnreadable(path, f"ONNX Runtime refuses its graph: {first_line(error)}") from error
    shapes = {output.name: output.shape for output in session.get_outputs()}
    declared = onnx.ModelProto()
    declared.CopyFrom(simplified.model)
    del declared.graph.value_info[:]
    for output in declared.graph.output:
        shape = output.type.tensor_type.shape
        shape.Clear()
        for place, size in enumerate(shapes[output.name]):
            if isinstance(size, int):
                shape.dim.add(dim_value=size)
            else:
                shape.dim.add(dim_param=size or f"{output.name}_{place}")
    return replace(simplified, model=declared)


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


def check_no_open_dims(path: Path, served: Signature) -> None:
    """Raise BadValue if an input has an open dimension."""
    for spec in served.inputs:
        if OPEN in spec.dims:
            first = spec.dims[:1] == (OPEN,) and served.unbatched is not None
            sizes = [1, *spec.dims[1:]] if first else list(spec.dims)
            shape = "x".join("224" if dim == OPEN else str(dim) for dim in sizes)
            why = f", and is not batched: {served.unbatched}" if served.unbatched else ""
            raise BadValue(
                "path", path, f"its input {spec.name!r} {spec.shape} leaves a dimension open{why}",
                f"set it, such as `inputs={shlex.quote(f'{spec.name}:{shape}')}`",
            )  # fmt: skip


def prepare_torch(
    name: str, definition: TorchNetwork, options: BuildOptions, on_step: Callable[[str], None]
) -> Prepared:
    """Export and simplify a user's module; raise NetworkUnusable for dependent rows or a dropped input or batch."""
    on_step("weights")
    target = definition.target or name
    module = TupleOutput(definition.module(name)).eval()  # the exporter keeps the mode of a module
    outputs = output_names(target, module, definition)
    reference = TorchReference(module)
    preprocessing = samples.image_preprocessing(definition.inputs, definition.image.given())
    reason = row_dependence(reference, definition.inputs, preprocessing)
    if reason:
        raise NetworkUnusable(target, reason, "Triton batches requests along the first dimension")
    on_step("export")
    exported = export(name, module, definition.inputs, outputs)
    on_step("simplify")
    simplified = simplify(name, exported, options.rewrites)
    served = signature(name, simplified.model)
    for spec in definition.inputs:
        if spec.name not in {kept.name for kept in served.inputs}:
            raise NetworkUnusable(target, f"its answer does not depend on its input {spec.name!r}")
    if served.unbatched:
        why = f"exported, {served.unbatched}"
        raise NetworkUnusable(target, why, "the exporter treats len(x) as a constant, but not x.shape[0]")
    weights = Weights(definition.target or "plugin")
    return Prepared(exported.exporter, simplified, served, reference, weights, preprocessing)


class TupleOutput(nn.Module):
    """A module that returns the output of another as a tuple of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors in order."""
        return tensors(self.module(*inputs))


def tensors(answer: Any) -> tuple[torch.Tensor, ...]:  # noqa: ANN401 (a module may return anything)
    """Return the tensors of a module's output: a tensor, sequence or mapping."""
    if isinstance(answer, dict):
        return tuple(answer.values())
    return tuple(answer) if isinstance(answer, list | tuple) else (answer,)


def output_names(target: str, wrapped: TupleOutput, definition: TorchNetwork) -> tuple[str, ...]:
    """Return the names of the outputs: the keys of a mapping, `output`, or `output_0`, `output_1` and so on."""
    try:
        with torch.no_grad():
            answer = wrapped.module(*zeros(definition.inputs, ROWS))
    except Exception as error:
        raise NetworkUnusable(target, f"it does not take its inputs: {first_line(error)}", "see `inputs`") from error
    values = tensors(answer)
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise NetworkUnusable(target, "it answers with something else than tensors")
    if any(value.dtype == torch.bfloat16 for value in values):
        raise NetworkUnusable(target, "it answers in bfloat16, which Triton's ONNX Runtime backend does not serve")
    if not isinstance(answer, dict):
        return ("output",) if len(values) == 1 else tuple(f"output_{i}" for i in range(len(values)))
    names = tuple(map(str, answer))
    for taken in {spec.name for spec in definition.inputs}.intersection(names):
        raise NetworkUnusable(target, f"an input and an output are both {taken!r}", "name the input with `inputs`")
    return names
