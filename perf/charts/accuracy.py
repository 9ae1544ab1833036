"""Published top-1 accuracy against what a network costs; pure, but for the counting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.errors import printable
from generator.networks import NETWORKS
from perf.charts.styles import FAMILIES
from perf.charts.types import Axis, Mark, NotDrawn, Points, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from generator.networks.types import Network, Published
    from perf.charts.types import Family

TOP1 = Axis("Top-1 accuracy, as published")
PAGE = "Accuracy: PaddleClas's page, of its weights."
KNOWN = {network.name: network for network in NETWORKS}


@dataclass(frozen=True)
class Cost:
    """A row of what is along a chart: `of` takes a network's published figures, its parameters and its FLOPs."""

    name: str
    title: str
    x: Axis
    of: Callable[[Published, int, int], float]
    about: str = ""


COSTS = (
    Cost(
        "top1-flops", "Top-1 accuracy against FLOPs", Axis("FLOPs of one image, counted, G"),
        lambda _, __, flops: flops / 1e9, "Counted in the network itself; a multiply-add is two.",
    ),
    Cost(
        "top1-flops-published", "Top-1 accuracy against FLOPs as published", Axis("FLOPs, as published, G"),
        lambda page, _, __: page.flops_g, "FLOPs are the page's, whose rule left out most of a grouped convolution.",
    ),
    Cost(
        "top1-params", "Top-1 accuracy against parameters", Axis("Parameters, counted, M"),
        lambda _, parameters, __: parameters / 1e6, "Counted in the network itself.",
    ),
    Cost(
        "top1-params-published", "Top-1 accuracy against parameters as published", Axis("Parameters, as published, M"),
        lambda page, _, __: page.params_m,
        "Parameters are the page's, whose rule left out most of a grouped convolution.",
    ),
)  # fmt: skip


def against_costs(models: Collection[str]) -> list[Points | NotDrawn]:
    """A chart a row of COSTS."""
    named = [network for network in NETWORKS if network.name in models]
    counts = {network.name: network.count() for network in named}
    drawn: list[Points | NotDrawn] = []
    for cost in COSTS:
        costs = {
            network.name: (cost.of(page, counts[network.name].parameters, counts[network.name].flops), True)
            for network in named
            if (page := network.published)
        }
        drawn.append(against(cost.name, cost.title, cost.about, cost.x, costs, models))
    return drawn


def against(
    name: str, title: str, about: str, x: Axis, costs: Mapping[str, tuple[float, bool]], models: Iterable[str]
) -> Points | NotDrawn:
    """Top-1 against any figure of a model and whether it is stable, a line a family; of the models that have both."""
    known = [network for network in NETWORKS if network.name in costs]
    if not known:
        return NotDrawn(name, "none of the models has a published accuracy")
    absent = [printable(model) for model in models if model not in KNOWN]
    without = f" Without a published accuracy, and not here: {', '.join(absent)}." if absent else ""
    return Points(name, title, f"{about} {PAGE}{without}".strip(), x, TOP1, tuple(families(known, costs)))


def families(known: Iterable[Network], costs: Mapping[str, tuple[float, bool]]) -> Iterable[Series]:
    """The networks of each family, in the order of their cost."""
    of: dict[Family, list[Mark]] = {"densenet": [], "dpn": []}
    for network in known:
        if network.published:
            value, stable = costs[network.name]
            mark = Mark(value, network.published.top1, network.title, stable)
            of[family(network.name)].append(mark)
    for key, marks in of.items():
        if marks:
            yield Series(FAMILIES[key].label, key, "dotted", tuple(sorted(marks, key=lambda mark: mark.x)))


def family(model: str) -> Family:
    """What a model is drawn as."""
    return KNOWN[model].definition.family if model in KNOWN else "other"
