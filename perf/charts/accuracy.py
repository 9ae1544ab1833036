"""Charts of published top-1 accuracy against the cost of a network; pure, apart from counting FLOPs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import printable
from generator.networks import NETWORKS
from perf.charts.styles import FAMILIES
from perf.charts.types import Axis, Mark, NotDrawn, Points, Series

if TYPE_CHECKING:
    from generator.networks.types import Counts, Published
    from perf.charts.types import Family

TOP1 = Axis("Top-1 accuracy, as published")
SOURCE = "Accuracy as published by PaddleClas, for its weights."
KNOWN = {network.name: network for network in NETWORKS}


@dataclass(frozen=True)
class Cost:
    """A cost of a network: the chart's name and words, and the value from the published figures and our counts."""

    name: str
    title: str
    axis: str
    about: str
    value: Callable[[Published, Counts], float]


BY_FORMULA = "by a formula that leaves out most of each grouped convolution."
COSTS = (
    Cost("top1-flops", "FLOPs", "GFLOPs per image, counted",
         "FLOPs counted from the network; a multiply-add counts as two.", lambda _, counted: counted.flops / 1e9),
    Cost("top1-flops-published", "FLOPs as published", "GFLOPs per image, as published",
         f"FLOPs as published, {BY_FORMULA}", lambda page, _: page.flops_g),
    Cost("top1-params", "parameters", "Million parameters, counted",
         "Parameters counted from the network.", lambda _, counted: counted.parameters / 1e6),
    Cost("top1-params-published", "parameters as published", "Million parameters, as published",
         f"Parameters as published, {BY_FORMULA}", lambda page, _: page.params_m),
)  # fmt: skip


def against_costs(models: Collection[str]) -> list[Points | NotDrawn]:
    """Return one chart per row of COSTS."""
    counted = [(network, network.published, network.count()) for network in NETWORKS if network.name in models]
    return [
        against(
            cost.name,
            f"Top-1 accuracy against {cost.title}",
            cost.about,
            Axis(cost.axis),
            {network.name: (cost.value(page, counts), True) for network, page, counts in counted if page},
            models,
        )
        for cost in COSTS
    ]


def against(
    name: str, title: str, about: str, x: Axis, values: Mapping[str, tuple[float, bool]], models: Iterable[str]
) -> Points | NotDrawn:
    """Return a chart of top-1 against a value of each model (and whether it is stable), with one line per family."""
    marks: dict[Family, list[Mark]] = {}
    for network in NETWORKS:
        if network.name in values and network.published:
            value, stable = values[network.name]
            mark = Mark(value, network.published.top1, network.title, stable)
            marks.setdefault(family(network.name), []).append(mark)
    if not marks:
        return NotDrawn(name, "none of the models has a published accuracy")
    series = (
        Series(style.label, key, "dotted", tuple(sorted(marks[key], key=lambda mark: mark.x)))
        for key, style in FAMILIES.items()
        if key in marks
    )
    absent = [printable(model) for model in models if model not in KNOWN]
    left_out = f" Left out, without a published accuracy: {', '.join(absent)}." if absent else ""
    return Points(name, title, f"{about} {SOURCE}{left_out}".strip(), x, TOP1, tuple(series))


def family(model: str) -> Family:
    """Return the family that a model is drawn as."""
    return KNOWN[model].definition.family if model in KNOWN else "other"
