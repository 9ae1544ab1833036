"""`tritongen build`."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.builder.types import NEW
from generator.commands.click_options import REPOSITORY, colours, json_option, split, where
from generator.commands.serving_options import said, serving_options
from generator.errors import BadValue
from generator.graph.types import REWRITES

if TYPE_CHECKING:
    from generator.builder.pipeline import BuildReport
    from generator.builder.types import BuiltModel
    from generator.commands.click_options import Colours
    from generator.networks.types import Network
    from generator.networks.user_networks import ImageInput
    from generator.repository.s3.url import S3Url

logger = logging.getLogger(__name__)


@click.command(name="build", short_help="Make a verified model repository.")
@click.option(
    "--models", "-m", multiple=True, show_default="all", callback=split, metavar="NAMES",
    help="Networks to build: names in any case, glob patterns, or all; commas, or repeat the option.",
)  # fmt: skip
@click.option(
    "--onnx", "path", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Build an ONNX file of your own instead, or every .onnx file of a folder; may be repeated.",
)  # fmt: skip
@click.option(
    "--torch", "target", metavar="PACKAGE.MODULE:FUNCTION", help="Build the torch module that your function returns."
)
@click.option("--name", metavar="NAME", help="The model's name, with --onnx and --torch.  [default: the file's]")
@click.option(
    "--input", "inputs", multiple=True, metavar="[NAME:]DIMS[:TYPE]",
    help="--torch: an input without the batch, such as 3x224x224 or ids:128:int64; repeat it for more. --onnx: dims "
    "of an input that the file leaves open.",
)  # fmt: skip
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help="Names of the classes, one a line.")
@click.option(
    "--mean", callback=colours, metavar="R,G,B", help="--onnx, --torch: of images in 0..1.  [default: ImageNet]"
)
@click.option("--std", callback=colours, metavar="R,G,B", help="The same: standard deviation.")
@click.option(
    "--resize",
    "resize_short_px",
    type=click.IntRange(1),
    metavar="PX",
    help="The same: short side before the centre crop.",
)
@click.option(
    "--weights", default="random", show_default=True, metavar="SOURCE",
    help="random; torchvision, timm or paddleclas, which are fetched; or a file or folder of theirs.",
)  # fmt: skip
@click.option("--seed", type=int, help="Seed of random weights.  [default: 0]")
@click.option(
    "--precision",
    default="fp16",
    show_default=True,
    metavar="fp16|fp32",
    help="Which variant config.pbtxt is.",
)
@click.option(
    "--gpu", "gpus", multiple=True, default=("v100", "t4"), show_default="v100,t4", callback=split, metavar="NAMES",
    help="GPUs for which configs/<gpu>-fp16.pbtxt and -fp32.pbtxt are written; cpu has config.pbtxt alone.",
)  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(), callback=where, default=REPOSITORY, show_default=True, metavar="DIR|URL",
    help="The model repository to write: a folder, or s3://bucket/prefix.",
)  # fmt: skip
@click.option(
    "--tolerance", type=float, default=1e-4, show_default="1e-4", metavar="ERROR",
    help="Tighten what is published: max |difference| / max |logit|.",
)  # fmt: skip
@click.option(
    "--rewrites", multiple=True, default=("all",), show_default="all", callback=split, metavar="NAMES",
    help=f"Graph rewrites, all, none, or some of: {', '.join(REWRITES)}.",
)  # fmt: skip
@serving_options
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE",
    help="TOML: the options from --max-batch-size to --accelerator, for all networks and in [models.NAME] for some; "
    "the command line goes before it.",
)  # fmt: skip
@click.option(
    "--template-dir", type=click.Path(path_type=Path), metavar="DIR", help="Use the config.pbtxt.j2 in it, not ours."
)
@click.option(
    "--dry-run", is_flag=True, help="Only say what would be done, and why; a publisher's weights are fetched for that."
)
@click.option(
    "--jobs", "-j", type=int, metavar="N", help="How many models are made at once.  [default: as many as cores]"
)
@click.option(
    "--memory",
    "memory_gib",
    type=float,
    metavar="GIB",
    help="What they may take together.  [default: half of what is free]",
)
@click.option("--force", is_flag=True, help="Make every model anew, whether it is up to date or not.")
@json_option
def command(
    *,
    models: tuple[str, ...],
    path: tuple[Path, ...],
    target: str | None,
    name: str | None,
    inputs: tuple[str, ...],
    labels: Path | None,
    mean: Colours | None,
    std: Colours | None,
    resize_short_px: int | None,
    weights: str,
    seed: int | None,
    precision: str,
    gpus: tuple[str, ...],
    output: Path | S3Url,
    tolerance: float,
    rewrites: tuple[str, ...],
    config: Path | None,
    template_dir: Path | None,
    jobs: int | None,
    memory_gib: float | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **serving: Any,  # noqa: ANN401 (the table of serving options)
) -> int:
    """Export, simplify, verify and configure networks into a Triton model repository.

    A model whose ONNX answers differ from the network's is not published.

    \b
    Examples:
      tritongen build --models densenet121,dpn92 --precision fp16
      tritongen build --models dpn92 --weights dpn92.mx_in1k.safetensors
      tritongen build --onnx model.onnx --name mynet --labels classes.txt
      tritongen build --torch mypackage.nets:small --input 3x224x224
      tritongen build --max-batch-size 32 --config serving.toml
      tritongen build --output s3://bucket/models
    """
    from generator.builder.arguments import RANDOM, chosen_networks
    from generator.builder.pipeline import build
    from generator.commands.build_progress import build_progress
    from generator.networks.user_networks import ImageInput

    if seed is not None and weights != RANDOM:
        raise BadValue("seed", seed, f"applies only to random weights, not to {weights}")
    own = own_networks(path, target, name, inputs, ImageInput(mean, std, resize_short_px))
    if not models and "--models" in asked():
        raise BadValue("models", "", "no network is named", "--models all selects every network")
    if own and models:
        raise BadValue("models", ",".join(models), "cannot be combined with --onnx or --torch", "run two builds")
    chosen = chosen_networks(own or models or "all")
    with build_progress(len(chosen)) as on_step, redirect_stdout(sys.stderr):  # the user's own code may print
        report = build(
            chosen, precision=precision, gpus=gpus, output=output, weights=weights, seed=seed or 0,
            tolerance=tolerance, rewrites=rewrites, labels=labels, config=config, template_dir=template_dir,
            force=force, dry_run=dry_run, jobs=jobs, memory_gib=memory_gib, on_step=on_step,
            **said(serving),
        )  # fmt: skip
    if dry_run:
        print_needed(report, as_json=as_json)
    elif as_json:
        print_json(report)
    else:
        print_summary(report, output, precision.lower())
    return max((error.exit_code for error in report.failed.values()), default=0)


def asked() -> set[str]:
    """The options that the call has."""
    ctx = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    return {option for p in ctx.command.params for option in p.opts if ctx.get_parameter_source(p.name or "") == given}


def own_networks(
    path: tuple[Path, ...], target: str | None, name: str | None, inputs: tuple[str, ...], image: ImageInput
) -> list[Network]:
    """The networks of --onnx or --torch; none where neither is given."""
    from generator.networks.user_networks import onnx_network, torch_network

    if path and target is not None:
        raise BadValue("target", target, "cannot be combined with --onnx", "run two builds")
    if target is not None:
        return [torch_network(target, name, inputs, image)]
    files = [file for given in path for file in (onnx_files(given) if given.is_dir() else [given])]
    said = {"name": name, "inputs": ",".join(inputs) or None}
    for parameter, value in said.items():
        if value is not None and len(files) > 1:
            raise BadValue(parameter, value, f"needs exactly one network ({len(files)} selected)")
    if files:
        return [onnx_network(file, name, inputs, image) for file in files]
    for parameter, value in (said | vars(image)).items():
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise BadValue(parameter, text, "needs --onnx or --torch")
    return []


def onnx_files(folder: Path) -> list[Path]:
    """The ONNX files of a folder, by their names."""
    files = sorted(folder.glob("*.onnx"))
    if not files:
        raise BadValue("path", folder, "has no .onnx file")
    return files


def print_needed(report: BuildReport, *, as_json: bool) -> None:
    """What a build would do, and why."""
    from generator.commands import console

    if as_json:
        models = [{"model": name, "outcome": todo.outcome, "why": todo.why} for name, todo in report.needed.items()]
        console.print_json({"models": models, "failed": reasons(report)})
        return
    rows = [(name, todo.outcome, todo.why) for name, todo in report.needed.items()]
    if rows:
        console.print_table(("Model", "Would be", "Because"), rows, left=3)
    for error in report.failed.values():
        console.report(error)


def print_json(report: BuildReport) -> None:
    """The summary for a program."""
    from generator.builder.provenance import certificate_record
    from generator.commands import console

    models = [
        {
            "model": model.network.name,
            "folder": str(model.folder),
            "outcome": report.needed[model.network.name].outcome,
            "why": report.needed[model.network.name].why,
            "size_bytes": model.size_bytes,
            "nodes": model.graph.nodes,
            "weights": model.weights.label,
            "rewrites": model.graph.rewrites,
            "unsimplified": model.graph.unsimplified,
            "unbatched": model.signature.unbatched,
            "relative_error": {batch.batch_size: batch.relative_error for batch in model.certificate.batches},
            "certificate": certificate_record(model.certificate),
        }
        for model in report.built
    ]
    console.print_json({"models": models, "failed": reasons(report)})


def reasons(report: BuildReport) -> dict[str, str]:
    """Return the error of each model that failed."""
    from generator.commands.console import sentence

    return {name: sentence(error) for name, error in report.failed.items()}


def print_summary(report: BuildReport, output: Path | S3Url, precision: str) -> None:
    """The summary for a person."""
    from generator.commands import console

    if report.built:
        heads = ("Model", "Weights", "ONNX MB", "Nodes", "Error b1", "b4", "b8", "fp64", "FP16 est.", "Top-1", "Top-5")
        console.print_table(heads, [row(model) for model in report.built], left=2)
        certificate = report.built[0].certificate
        variants = ", ".join(report.built[0].variants)
        logger.info(
            "\n%d verified in %s (%s): config.pbtxt is %s, %s.\n"
            "Error: max |ONNX Runtime - network| / max |logit| at batch 1, 4, 8; bound %g. "
            "fp64: the network's own distance\nfrom itself in double precision. FP16 est.: an FP16 cast on the CPU, an "
            "estimate of TensorRT's. Top-1, top-5:\nimages of the largest batch with the same classes. -: no batch, or "
            "no such figure. All of it is in provenance.json.",
            len(report.built), output, outcomes(report), precision,
            f"configs/ has {variants}" if variants else "there are no configs/",
            certificate.tolerance,
        )  # fmt: skip
        for model in report.built:
            todo = report.needed[model.network.name]
            if todo.why not in ("", NEW):
                logger.info("%s: %s, since %s", model.network.name, todo.outcome, todo.why)
            if model.signature.unbatched:
                logger.info("%s: max_batch_size is 0: %s", model.network.name, model.signature.unbatched)
            if model.graph.unsimplified:
                logger.info("%s is not simplified: %s", model.network.name, model.graph.unsimplified)
        if any(model.weights.random for model in report.built):
            logger.info("Random weights: latency is real, labels mean nothing.")
    for error in report.failed.values():
        console.report(error)


def outcomes(report: BuildReport) -> str:
    """`7 up to date, 3 published`."""
    counts = Counter(report.needed[model.network.name].outcome for model in report.built)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def row(model: BuiltModel) -> tuple[object, ...]:
    """One model's line of the table."""
    certificate = model.certificate
    last = certificate.batches[-1]
    errors = [f"{batch.relative_error:.1e}" for batch in certificate.batches]
    beside = [f"{error.relative_error:.1e}" if error else "-" for error in (certificate.fp64, certificate.fp16)]
    tops = ["-" if agree is None else f"{agree}/{last.batch_size}" for agree in (last.top1_agree, last.top5_agree)]
    return (
        model.network.name, model.weights.label, f"{model.size_bytes / 1e6:.1f}", model.graph.nodes,
        *errors, *["-"] * (3 - len(errors)), *beside, *tops,
    )  # fmt: skip
