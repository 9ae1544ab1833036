"""Ensembles: their steps, the tensors between the steps, and the models that the steps name.

Source: core, `ValidateEnsembleSchedulingConfig` (src/model_config_utils.cc:161) and
src/ensemble_scheduler/ensemble_utils.cc.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from generator.checker.rules.basics import VARIABLE, Config, Place, Row, shape_text, sizes

AT: Place = ("ensemble_scheduling", 0)
# Blocks that an ensemble must not have, with core's words.
NOT_OF_ENSEMBLES = (
    ("instance_group", "instance group should not be specified for ensemble"),
    ("optimization", "optimization should not be specified for ensemble"),
    ("model_warmup", "model_warmup can not be specified for ensemble"),
)
NEWEST = -1


def step_rows(config: Config) -> Iterator[Row]:
    """Yield the rows for steps that are incomplete, and for the blocks of a single model."""
    name, is_ensemble = config["name"], "ensemble_scheduling" in config
    of_platform = config["platform"] == "ensemble"
    steps = config["ensemble_scheduling"]["step"] if is_ensemble else []
    yield from [
        (of_platform and not is_ensemble,
         f"ensemble scheduling must be set for ensemble {name} whose platform is ensemble",
         "write ensemble_scheduling { step { … } }", ("platform",)),
        (is_ensemble and not of_platform,
         f"ensemble scheduling cannot be set for model '{name}' whose platform is not ensemble",
         'platform: "ensemble", or leave ensemble_scheduling out', AT),
        *((is_ensemble and config.get(block), f"{sentence} '{name}'",
           f"leave {block} out: only the models inside have it", (block, 0)) for block, sentence in NOT_OF_ENSEMBLES),
        (is_ensemble and not steps, f"must specify 'step' for ensemble '{name}'", "name the models in order", AT),
        *((not step[part], f"must specify '{part}' in step {index} of ensemble '{name}'", f"fill {part}",
           (*AT, "step", index))
          for index, step in enumerate(steps) for part in ("model_name", "input_map", "output_map")),
    ]  # fmt: skip


def flow_rows(config: Config) -> Iterator[Row]:
    """Yield the rows for the tensors: one step or the request makes each, and a step or the answer uses it."""
    if "ensemble_scheduling" not in config:
        return
    name, steps = config["name"], config["ensemble_scheduling"]["step"]
    made: set[str] = set()
    for index, step in enumerate(steps):
        for tensor in step["output_map"].values():
            about = f"ensemble tensor '{tensor}' can appear in an output map only once for ensemble '{name}'"
            yield tensor in made, f"{about} step {index}", "rename the tensor", (*AT, "step", index, "output_map")
            made.add(tensor)
    used = {tensor for step in steps for tensor in step["input_map"].values()}
    inputs, outputs = ([block["name"] for block in config[kind]] for kind in ("input", "output"))
    for kind, tensors, mapped in (("input", inputs, used), ("output", outputs, made)):
        for index, tensor in enumerate(tensors):  # the quote before "is" is core's
            sentence = f"ensemble {kind} '{tensor}' for ensemble {name}' is not used"
            yield tensor not in mapped, sentence, "map it in a step, or leave it out", (kind, index)
    unused = (used - made - set(inputs)) | (made - used - set(outputs))
    about = f"ensemble tensor '{min(unused, default='')}' is unused in ensemble '{name}'"
    yield unused, about, "make it and use it", AT


def ensemble_rules(config: Config) -> dict[str, Iterator[Row]]:
    """Return the rows of each rule for an ensemble on its own, by the rule's id."""
    return {"steps-are-said": step_rows(config), "tensors-flow": flow_rows(config)}


class Loadable(NamedTuple):
    """A model of the repository as an ensemble sees it: its config, and the versions that the server would load."""

    config: Config
    versions: Sequence[str] = ()


def model_rows(config: Config, models: Mapping[str, Loadable]) -> Iterator[Row]:
    """Yield the rows for the models of the steps: they load, take the ensemble's batch, and have the mapped tensors."""
    if "ensemble_scheduling" not in config:
        return
    name, wanted = config["name"], config["max_batch_size"]
    if cycle := circle(name, models, ()):
        sentence = f"circular dependency between ensembles: {cycle[0]} -> ... -> {cycle[-2]} -> {cycle[-1]}"
        yield True, sentence, "leave one step out", AT
    for index, step in enumerate(config["ensemble_scheduling"]["step"]):
        at, title, version = (*AT, "step", index), step["model_name"], int(step["model_version"])
        sentence = f"ensemble {name} contains models that are not available or ambiguous: {title}"
        yield title not in models, sentence, "build that model into the repository", (*at, "model_name")
        model, versions = models[title]
        largest = model["max_batch_size"]
        yield from [
            (not versions, f"ensemble '{name}' depends on '{title}' which has no loaded version",
             f"correct {title}", (*at, "model_name")),
            (version != NEWEST and str(version) not in versions,
             f"ensemble '{name}' depends on '{title}' whose required version {version} is not loaded.",
             "model_version: -1 is the newest", (*at, "model_version")),
            (0 < largest < wanted,
             (f"ensemble {name} allows maximum batch size {wanted}, but it contains model {title} which only allows "
              f"maximum batch size to be {largest}"), f"max_batch_size: {largest}", ("max_batch_size",)),
        ]  # fmt: skip
        yield from mapped_rows(config, step, model, at)


def circle(name: str, models: Mapping[str, Loadable], path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names from an ensemble back to itself, or none."""
    if name in path:
        return (*path[path.index(name) :], name)
    model = models.get(name)
    steps = model.config.get("ensemble_scheduling", {}).get("step", []) if model else []
    return next(filter(None, (circle(step["model_name"], models, (*path, name)) for step in steps)), ())


def mapped_rows(config: Config, step: Config, model: Config, at: Place) -> Iterator[Row]:
    """Yield the rows for the mapped tensors, which the model has, with one type and shape on both sides."""
    name, title, batched = config["name"], step["model_name"], config["max_batch_size"] > 0
    for part, kind, words in (
        ("input_map", "input", "is mapping to non-existing input"),
        ("output_map", "output", "is mapped from non-existing output"),
    ):
        inner, outer = ({block["name"]: block for block in blocks[kind]} for blocks in (model, config))
        for inside, tensor in sorted(step[part].items()) if inner else ():
            about = f"in ensemble {name}, ensemble tensor {tensor}"
            yield (inside not in inner, f"{about} {words} {inside} in model {title}",
                   f"{kind}s of {title}: {', '.join(sorted(inner))}", (*at, part))  # fmt: skip
            if tensor not in outer:
                continue
            ours, theirs = outer[tensor], inner[inside]
            dims = sizes(theirs["dims"])
            # An ensemble without a batch takes a model's tensors without their batch.
            theirs_full = [VARIABLE] * (batched and model["max_batch_size"] > 0) + dims
            ours_full = [VARIABLE] * batched + sizes(ours["dims"])
            compatible = len(ours_full) == len(theirs_full) and all(
                a == b or VARIABLE in (a, b) for a, b in zip(ours_full, theirs_full, strict=True)
            )
            yield from [
                (ours["data_type"] != theirs["data_type"],
                 (f"{about}: inconsistent data type: {ours['data_type']} is inferred from model {name} while "
                  f"{theirs['data_type']} is inferred from model {title}"),
                 f"data_type: {theirs['data_type']}", (kind,)),
                (not compatible,
                 (f"{about}: inconsistent shape: {shape_text(ours_full)} is inferred from model {name} while "
                  f"{shape_text(theirs_full)} is inferred from model {title}"), f"dims: {shape_text(dims)}", (kind,)),
            ]  # fmt: skip
