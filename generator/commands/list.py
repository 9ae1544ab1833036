"""`tritongen list`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from generator.commands import console
from generator.commands.click_options import Command, group, json_option, list_option, option
from generator.errors import TritongenError
from generator.system import text
from generator.types import PRECISIONS

if TYPE_CHECKING:
    from generator.networks.types import Counts, Network

    Row = tuple[Network, Counts, Counts | None]

logger = logging.getLogger(__name__)

HEADS = ("Model", "Params M", "by rule", "page", "FLOPs G", "by rule", "page", "Top-1", "Top-5")
TARGET_HEADS = ("Target", "Compute capability", "Memory GB", "FP16", "FP32", "Default", "Published")
MARKDOWN_HEADS = ("Models", "Top1", "Top5", "Reference top1", "Reference top5", "FLOPS (G)", "Parameters (M)")

COUNTED = "Params and FLOPs: counted, for one image (224x224 of the ten); a multiply-add is two."
# tests/test_counts.py compares the figures in this text with the counts.
RULE = """\
The page is PaddleClas's. Its parameters and FLOPs are by the rule of Paddle
1.x's model_stat.py under Python 2, where 4 / 40 is 0: it divided a grouped
convolution's channels by the groups twice, which left out nearly all grouped
convolutions of the DPNs and understates them: DPN68 has 12.61 M parameters and
4.65 GFLOPs. The classifier's multiply-add was one; batch norm, ReLU and pools
counted too. Two cells are not what the rule gives: DenseNet264's 33.37 M
parameters (33.34) and DPN98's 58.46 M (58.465, which rounds to 58.47)."""
WEIGHTS = """\
Accuracy is of PaddleClas's weights. `tritongen build` gives random ones unless
--weights says otherwise: latency is real, labels mean nothing."""


LISTED = group(
    "What to list",
    list_option("--models", "-m", default="all", help="Networks to list: names, glob patterns, or all."),
    option("--table", "as_markdown", is_flag=True, help="Print the published accuracy table in Markdown."),
    option("--targets", "targets", is_flag=True, help="List the GPUs instead, with the Triton images for each."),
)  # fmt: skip


@click.command(
    name="list",
    cls=Command,
    short_help="Show the networks, counted and published.",
    exclusive=(("as_markdown", "as_json"), ("as_markdown", "targets"), ("models", "targets")),
)
@LISTED
@json_option
def command(*, models: tuple[str, ...], as_markdown: bool, targets: bool, as_json: bool) -> int:
    """List the networks with their parameters and FLOPs, counted and published.

    "by rule": recomputed with the formula behind the published figures. "page": the published figures.

    \b
    Example:
      tritongen list --models 'dpn*'
      tritongen list --table
      tritongen list --targets
    """
    from generator import networks

    if targets:
        return list_targets(as_json=as_json)
    chosen = networks.select(models)
    if as_markdown:
        console.print_text(markdown(chosen))
        logger.info("\n%s", RULE)
        return 0
    with redirect_stdout(sys.stderr):  # a plugin may print
        rows, failed = counted(chosen)
    if as_json:
        console.print_json([record(*row) for row in rows])
    else:
        console.print_table(HEADS, [cells(*row) for row in rows])
        logger.info("\n%s\n%s\n%s", COUNTED, RULE, WEIGHTS)
    for error in failed:
        console.report(error)
    return 1 if failed else 0


def list_targets(*, as_json: bool) -> int:
    """Print the table of targets, and log the sources of its figures."""
    from generator.config.targets import TARGETS

    if as_json:
        console.print_json(TARGETS)
        return 0
    rows = [
        (
            target.name,
            target.compute_capability or "-",
            " or ".join(map(str, target.memory_gb)) or "-",
            *(str(target.windows.get(precision, "-")) for precision in PRECISIONS),
            target.default_tag,
            ", ".join(target.published) or "-",
        )
        for target in TARGETS
    ]
    console.print_table(TARGET_HEADS, rows, left=len(TARGET_HEADS))
    logger.info(
        "\nFP16, FP32: releases of the image nvcr.io/nvidia/tritonserver:<release>-py3. Published: latency tables."
    )
    for target in TARGETS:
        logger.info("%s:\n  %s", target.name, "\n  ".join(target.sources))
    return 0


def counted(chosen: Iterable[Network]) -> tuple[list[Row], list[TritongenError]]:
    """Count each network by both rules; also return the errors of networks that cannot be counted."""
    from generator.networks.architectures import recount

    rows: list[Row] = []
    failed: list[TritongenError] = []
    for network in chosen:
        try:
            counts = network.count()
        except TritongenError as error:
            failed.append(error)
        else:
            rows.append((network, counts, recount(counts.layers) if network.published else None))
    return rows, failed


def cells(network: Network, counts: Counts, by_rule: Counts | None) -> tuple[str, ...]:
    """Return the row of a network, with the columns HEADS."""
    page = network.published
    return (
        network.name,
        f"{counts.parameters / 1e6:.3f}",
        f"{by_rule.parameters / 1e6:.3f}" if by_rule else "-",
        f"{page.params_m:.2f}" if page else "-",
        f"{counts.flops / 1e9:.3f}",
        f"{by_rule.flops / 1e9:.3f}" if by_rule else "-",
        f"{page.flops_g:.2f}" if page else "-",
        f"{page.top1:.3f}" if page else "-",
        f"{page.top5:.3f}" if page else "-",
    )


def record(network: Network, counts: Counts, by_rule: Counts | None) -> dict[str, object]:
    """Return all values of a network for JSON, unrounded, None for a missing value."""
    page = network.published
    return {
        "model": network.name,
        "title": network.title,
        "parameters": counts.parameters,
        "flops": counts.flops,
        "published_parameters_m": page and page.params_m,
        "published_flops_g": page and page.flops_g,
        "recomputed_parameters": by_rule and by_rule.parameters,
        "recomputed_flops": by_rule and by_rule.flops,
        "published_top1": page and page.top1,
        "published_top5": page and page.top5,
        "reference_top1": page and page.reference_top1,
        "reference_top5": page and page.reference_top5,
    }


def markdown(chosen: Iterable[Network]) -> str:
    """Return the published table in Markdown."""
    rows = []
    for network in chosen:
        if page := network.published:
            figures = (page.top1, page.top5, page.reference_top1, page.reference_top5, page.flops_g, page.params_m)
            rows.append((network.title, *("" if figure is None else f"{figure:.3f}" for figure in figures)))
    return text.markdown(MARKDOWN_HEADS, rows)
