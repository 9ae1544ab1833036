"""`tritongen build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.commands.options import REPOSITORY, json_option, models_option, split

if TYPE_CHECKING:
    from generator.pipeline import BuildReport


@click.command(name="build", short_help="Make a verified model repository.")
@models_option("Networks to build: names in any case, glob patterns, or all; commas, or repeat the option.")
@click.option(
    "--precision",
    default="fp16",
    show_default=True,
    metavar="fp16|fp32",
    help="Which variant config.pbtxt is.",
)
@click.option(
    "--gpu", "gpus", multiple=True, default=("v100", "t4"), show_default="v100,t4", callback=split, metavar="NAMES",
    help="GPUs for which configs/<gpu>-fp16.pbtxt and -fp32.pbtxt are written.",
)  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), default=REPOSITORY, show_default=True, metavar="DIR",
    help="The model repository to write.",
)  # fmt: skip
@click.option("--max-batch-size", type=int, default=8, show_default=True, help="Largest batch the server forms.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random weights.")
@json_option
def command(
    *,
    models: tuple[str, ...],
    precision: str,
    gpus: tuple[str, ...],
    output: Path,
    max_batch_size: int,
    seed: int,
    as_json: bool,
) -> int:
    """Export, simplify, verify and configure networks into a Triton model repository.

    A model whose ONNX answers differ from torch's is not published.

    \b
    Example:
      tritongen build --models densenet121,dpn92 --precision fp16
    """
    from generator.commands.progress import build_progress
    from generator.pipeline import build

    if output == Path():  # what an empty string becomes
        raise click.BadParameter("name a folder", param_hint="'--output'")
    with build_progress() as on_step:
        report = build(
            models, precision=precision, gpus=gpus, output=output, seed=seed, max_batch_size=max_batch_size,
            on_step=on_step,
        )  # fmt: skip
    if as_json:
        print_json(report)
    else:
        print_summary(report, output, precision.lower(), gpus)
    return 1 if report.failed else 0


def print_json(report: BuildReport) -> None:
    """The summary for a program."""
    import json

    models = [
        {
            "model": model.network.name,
            "folder": str(model.folder),
            "size_bytes": model.size_bytes,
            "nodes": model.nodes,
            "weights": model.weights.label,
            "relative_error": {batch.batch_size: batch.relative_error for batch in model.certificate.batches},
            "tolerance": model.certificate.tolerance,
        }
        for model in report.built
    ]
    failed = {name: str(error) for name, error in report.failed.items()}
    click.echo(json.dumps({"models": models, "failed": failed}, indent=2))


def print_summary(report: BuildReport, output: Path, precision: str, gpus: tuple[str, ...]) -> None:
    """The summary for a person."""
    from generator import console

    if report.built:
        rows = [
            (
                model.network.name,
                model.weights.label,
                f"{model.size_bytes / 1e6:.1f}",
                model.nodes,
                *(f"{batch.relative_error:.1e}" for batch in model.certificate.batches),
            )
            for model in report.built
        ]
        heads = ("Model", "Weights", "ONNX MB", "Nodes", "Error b1", "b4", "b8")
        console.out().print(console.table(heads, rows, left=2))
        bound = report.built[0].certificate.tolerance
        console.say(
            f"\n{len(report.built)} verified in {output}: config.pbtxt is {precision}, "
            f"configs/ has fp16 and fp32 for {', '.join(gpus).lower()}.\n"
            f"Error: max |ONNX Runtime - torch| / max |logit| at batch 1, 4 and 8; bound {bound:.0e}."
        )
        if not all(model.weights.trained for model in report.built):
            console.say("Random weights: latency is real, labels mean nothing.")
    for error in report.failed.values():
        console.complain(str(error), error.hint)
