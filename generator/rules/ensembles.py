"""Ensembles: their steps, the tensors between them, and the models that they are made of.

Source: core, `ValidateEnsembleSchedulingConfig` (src/model_config_utils.cc) and
src/ensemble_scheduler/ensemble_utils.cc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.rules.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    Config = Mapping[str, Any]

AT = ("ensemble_scheduling", 0)


def steps_are_said(config: Config, _folder_name: str) -> None:
    """An ensemble has steps and nothing of a model's own; each step a model and both maps."""
    name = config["name"]
    if config["platform"] == "ensemble" and "ensemble_scheduling" not in config:
        raise Refused(
            f"ensemble scheduling must be set for ensemble {name} whose platform is ensemble",
            "write ensemble_scheduling { step { … } }",
            ("platform",),
        )
    if "ensemble_scheduling" not in config:
        return
    for field, there in (
        ("instance group", config["instance_group"]),
        ("optimization", "optimization" in config),
        ("model warmup", config["model_warmup"]),
    ):
        if there:
            verb = "should not have" if field == "optimization" else "should not be specified"
            sentence = (
                f"optimization policy {verb} for ensemble '{name}'" if field == "optimization"
                else f"{field} {verb} for ensemble '{name}', {field} can not be specified for ensemble"
            )  # fmt: skip
            raise Refused(sentence, f"leave {field.replace(' ', '_')} out: it is of the models inside", AT)
    steps = config["ensemble_scheduling"]["step"]
    if not steps:
        raise Refused(f"must specify 'step' for ensemble '{name}'", "name the models in order", AT)
    for place, step in enumerate(steps):
        for field, what in (
            ("model_name", "'model_name'"),
            ("input_map", "'input_map'"),
            ("output_map", "'output_map'"),
        ):
            if not step[field]:
                raise Refused(
                    f"must specify {what} in step {place} of ensemble '{name}'", f"fill {field}", (*AT, "step", place)
                )


def tensors_flow(config: Config, _folder_name: str) -> None:
    """Every tensor is made by one step or the request, and used by a step or the answer."""
    if "ensemble_scheduling" not in config:
        return
    name, steps = config["name"], config["ensemble_scheduling"]["step"]
    inputs = {block["name"] for block in config["input"]}
    outputs = {block["name"] for block in config["output"]}
    made = set(inputs)
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
    for tensor in sorted(used - made):
        raise Refused(
            f"ensemble tensor '{tensor}' must be mapped to by an output of a step or an input for ensemble '{name}'",
            "no step makes it",
            AT,
        )
    for tensor in sorted(outputs - made):
        raise Refused(f"ensemble output '{tensor}' for ensemble {name} is not used", "no step makes it", ("output", 0))
    for tensor in sorted(made - used - outputs):
        kind = "input" if tensor in inputs else "tensor"
        raise Refused(f"ensemble {kind} '{tensor}' for ensemble {name} is not used", "leave it out", AT)


RULES = (steps_are_said, tensors_flow)


def models_agree(config: Config, models: Mapping[str, Config]) -> None:
    """Each step's model is there, takes the ensemble's batch, and has the tensors that are mapped."""
    if "ensemble_scheduling" not in config:
        return
    name = config["name"]
    for place, step in enumerate(config["ensemble_scheduling"]["step"]):
        at = (*AT, "step", place)
        model = models.get(step["model_name"])
        if model is None:
            raise Refused(
                f"ensemble {name} contains models that are not available or ambiguous: {step['model_name']}",
                "build that model into the repository",
                (*at, "model_name"),
            )
        if model["max_batch_size"] < config["max_batch_size"]:
            raise Refused(
                f"ensemble {name} allows maximum batch size {config['max_batch_size']}, but it contains model "
                f"{model['name']} which only allows maximum batch size to be {model['max_batch_size']}",
                f"max_batch_size: {model['max_batch_size']}",
                ("max_batch_size",),
            )
        for field, kind in (("input_map", "input"), ("output_map", "output")):
            known = {block["name"] for block in model[kind]}
            for tensor in sorted(set(step[field]) - known if known else ()):
                raise Refused(
                    f"in ensemble {name}, ensemble tensor {step[field][tensor]} is mapping to non-existing {kind} "
                    f"{tensor} in model {step['model_name']}",
                    f"{kind}s of {step['model_name']}: {', '.join(sorted(known))}",
                    (*at, field),
                )
