"""Ensembles: their steps, the tensors between them, and the models that they are made of.

Source: core, `ValidateEnsembleSchedulingConfig` (src/model_config_utils.cc) and
src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from generator.checker.rules.io_blocks import sizes
from generator.checker.rules.outcomes import Refused
from generator.checker.rules.tensors_match import shape_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from generator.checker.rules.outcomes import Place

    Config = Mapping[str, Any]

AT: Place = ("ensemble_scheduling", 0)
# What an ensemble has none of, and core's words for that.
OF_MODELS = (
    ("instance_group", "instance group should not be specified for ensemble '{}'"),
    ("optimization", "optimization should not be specified for ensemble '{}'"),
    ("model_warmup", "model_warmup can not be specified for ensemble '{}'"),
)
NEWEST = -1


def steps_are_said(config: Config, _folder_name: str) -> None:
    """An ensemble has steps and nothing of a model's own; each step a model and both maps.

    Source: core, src/model_config_utils.cc:161.
    """
    name = config["name"]
    if config["platform"] == "ensemble" and "ensemble_scheduling" not in config:
        raise Refused(
            f"ensemble scheduling must be set for ensemble {name} whose platform is ensemble",
            "write ensemble_scheduling { step { … } }",
            ("platform",),
        )
    if "ensemble_scheduling" not in config:
        return
    if config["platform"] != "ensemble":
        raise Refused(
            f"ensemble scheduling cannot be set for model '{name}' whose platform is not ensemble",
            'platform: "ensemble", or leave ensemble_scheduling out',
            AT,
        )
    for block, sentence in OF_MODELS:
        if config.get(block):
            raise Refused(sentence.format(name), f"leave {block} out: it is of the models inside", (block, 0))
    if not config["ensemble_scheduling"]["step"]:
        raise Refused(f"must specify 'step' for ensemble '{name}'", "name the models in order", AT)
    for place, step in enumerate(config["ensemble_scheduling"]["step"]):
        for part in ("model_name", "input_map", "output_map"):
            if not step[part]:
                raise Refused(
                    f"must specify '{part}' in step {place} of ensemble '{name}'", f"fill {part}", (*AT, "step", place)
                )


def tensors_flow(config: Config, _folder_name: str) -> None:
    """Every tensor is made by one step or the request, and used by a step or the answer.

    Source: core, src/model_config_utils.cc:161.
    """
    if "ensemble_scheduling" not in config:
        return
    name, steps = config["name"], config["ensemble_scheduling"]["step"]
    inputs = [block["name"] for block in config["input"]]
    outputs = [block["name"] for block in config["output"]]
    made: set[str] = set()
    for place, step in enumerate(steps):
        for tensor in step["output_map"].values():
            if tensor in made:
                raise Refused(
                    f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble '{name}' step "
                    f"{place}",
                    "give the tensor another name",
                    (*AT, "step", place, "output_map"),
                )
            made.add(tensor)
    used = {tensor for step in steps for tensor in step["input_map"].values()}
    for kind, tensors, there in (("input", inputs, used), ("output", outputs, made)):
        for place, tensor in enumerate(tensors):
            if tensor not in there:  # the quote before "is" is core's
                raise Refused(
                    f"ensemble {kind} '{tensor}' for ensemble {name}' is not used",
                    "map it in a step, or leave it out",
                    (kind, place),
                )
    for tensor in sorted((used - made - set(inputs)) | (made - used - set(outputs))):
        raise Refused(f"ensemble tensor '{tensor}' is unused in ensemble '{name}'", "make it and use it", AT)


RULES = (steps_are_said, tensors_flow)


@dataclass(frozen=True)
class Loadable:
    """A model of the repository as an ensemble finds it: its config, and the versions that the server would load."""

    config: Config
    versions: Sequence[str] = field(default=())


def models_agree(config: Config, models: Mapping[str, Loadable]) -> None:
    """Each step's model is there, takes the ensemble's batch, and has the tensors that are mapped, as they are.

    Source: core, src/ensemble_scheduler/ensemble_utils.cc.
    """
    if "ensemble_scheduling" not in config:
        return
    name = config["name"]
    if cycle := circle(name, models, ()):
        words = f"circular dependency between ensembles: {cycle[0]} -> ... -> {cycle[-2]} -> {cycle[-1]}"
        raise Refused(words, "leave one step out", AT)
    for place, step in enumerate(config["ensemble_scheduling"]["step"]):
        at = (*AT, "step", place)
        model = models.get(step["model_name"])
        if model is None:
            raise Refused(
                f"ensemble {name} contains models that are not available or ambiguous: {step['model_name']}",
                "build that model into the repository",
                (*at, "model_name"),
            )
        check_version(name, step, model, at)
        largest, wanted = model.config["max_batch_size"], config["max_batch_size"]
        if 0 < largest < wanted:
            raise Refused(
                f"ensemble {name} allows maximum batch size {wanted}, but it contains model {step['model_name']} which "
                f"only allows maximum batch size to be {largest}",
                f"max_batch_size: {largest}",
                ("max_batch_size",),
            )
        check_tensors(config, step, model.config, at)


def circle(name: str, models: Mapping[str, Loadable], path: tuple[str, ...]) -> tuple[str, ...]:
    """The names from an ensemble back to itself, or none."""
    if name in path:
        return (*path[path.index(name) :], name)
    model = models.get(name)
    steps = model.config.get("ensemble_scheduling", {}).get("step", []) if model else []
    return next(filter(None, (circle(step["model_name"], models, (*path, name)) for step in steps)), ())


def check_version(name: str, step: Config, model: Loadable, at: Place) -> None:
    """The version that the step asks for is loaded."""
    wanted = int(step["model_version"])
    if not model.versions:
        raise Refused(
            f"ensemble '{name}' depends on '{step['model_name']}' which has no loaded version",
            f"mend {step['model_name']}",
            (*at, "model_name"),
        )
    if wanted != NEWEST and str(wanted) not in model.versions:
        raise Refused(
            f"ensemble '{name}' depends on '{step['model_name']}' whose required version {wanted} is not loaded.",
            "model_version: -1 is the newest",
            (*at, "model_version"),
        )


def check_tensors(config: Config, step: Config, model: Config, at: Place) -> None:
    """The mapped tensors are the model's, and of one type and shape on both sides."""
    name, about = config["name"], f"in ensemble {config['name']}, ensemble tensor"
    for part, kind, words in (
        ("input_map", "input", "is mapping to non-existing input"),
        ("output_map", "output", "is mapped from non-existing output"),
    ):
        theirs = {block["name"]: block for block in model[kind]}
        ours = {block["name"]: block for block in config[kind]}
        for inside, tensor in sorted(step[part].items()):
            if theirs and inside not in theirs:
                raise Refused(
                    f"{about} {tensor} {words} {inside} in model {step['model_name']}",
                    f"{kind}s of {step['model_name']}: {', '.join(sorted(theirs))}",
                    (*at, part),
                )
            if not theirs or tensor not in ours:
                continue
            one, other = ours[tensor], theirs[inside]
            if one["data_type"] != other["data_type"]:
                raise Refused(
                    f"{about} {tensor}: inconsistent data type: {one['data_type']} is inferred from model {name} while "
                    f"{other['data_type']} is inferred from model {step['model_name']}",
                    f"data_type: {other['data_type']}",
                    (kind,),
                )
            # An ensemble without a batch takes a model's tensors without theirs.
            batched = config["max_batch_size"] > 0
            shapes = full_shape(config, one), full_shape(model, other) if batched else sizes(other["dims"])
            if not compatible(*shapes):
                raise Refused(
                    f"{about} {tensor}: inconsistent shape: {shape_text(shapes[0])} is inferred from model {name} "
                    f"while {shape_text(shapes[1])} is inferred from model {step['model_name']}",
                    f"dims: {shape_text(sizes(other['dims']))}",
                    (kind,),
                )


def full_shape(config: Config, block: Config) -> list[int]:
    """The dims, with the batch where there is one."""
    return [*([-1] if config["max_batch_size"] > 0 else []), *sizes(block["dims"])]


def compatible(one: Sequence[int], other: Sequence[int]) -> bool:
    """As many dimensions, and each the same or open on a side."""
    return len(one) == len(other) and all(a == b or -1 in (a, b) for a, b in zip(one, other, strict=True))
