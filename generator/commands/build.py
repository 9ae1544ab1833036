"""`tritongen build`."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.commands import console
from generator.commands.click_options import (
    Colours,
    Command,
    colours,
    given_params,
    group,
    json_option,
    list_option,
    option,
    path_option,
    precision_option,
    repository_option,
)
from generator.errors import BadValue
from generator.graph.types import REWRITES
from generator.repository.s3.url import S3Url

if TYPE_CHECKING:
    from rich.progress import TaskID

    from generator.builder.pipeline import BuildReport, BuiltModel
    from generator.builder.worker_pool import OnStep
    from generator.networks.types import Network
    from generator.networks.user_networks import ImageInput

logger = logging.getLogger(__name__)

MANY_BARS = 20  # more do not fit a terminal


def accelerator_parameters(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | None:
    """Read repeated KEY=VALUE; return None without values."""
    if wrong := [text for text in values if "=" not in text]:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE")
    return {key.strip(): value.strip() for key, _, value in (text.partition("=") for text in values)} or None


# These options have no default here: a --config file may have the ones that the user does not give.
SERVING = group(
    "Serving options",
    option("--max-batch-size", type=int, show_default="8", help="Largest batch that the server forms, 1 to 1024."),
    list_option("--preferred-batch-sizes", numbers=True, show_default="4,8",
                help="Batch sizes that do not wait for more requests; at most the largest batch."),
    option("--max-queue-delay-us", type=int, metavar="US", show_default="100",
           help="How long a request may wait for others, in microseconds, up to 10 s."),
    option("--instance-count", type=int, show_default="1", help="Instances of the model on the device, 1 to 64."),
    option("--workspace-mib", type=int, metavar="MIB", show_default="1024",
           help="Memory that TensorRT may use while it builds an engine."),
    list_option("--profile", numbers=True, metavar="MIN,OPT,MAX", show_default="1,8,8",
                help="Batch sizes of TensorRT's profile: 1, the size to optimise for, the largest batch."),
    option("--builder-optimization-level", type=int, metavar="0-5", show_default="set by TensorRT",
           help="How long TensorRT searches; engines below level 3 may be slow."),
    option("--response-cache/--no-response-cache", default=None, show_default="off",
           help="Answer repeated requests from Triton's response cache."),
    option("--warmup/--no-warmup", default=None, show_default="on",
           help="Run batch 1 and the largest batch before the model is READY."),
    option("--accelerator", multiple=True, callback=accelerator_parameters, metavar="KEY=VALUE",
           help="Set a further parameter of the tensorrt accelerator; may be repeated."),
    path_option("--config", help="TOML file of these options, for all networks and in [models.NAME] for some. "
                "Command-line options override it."),
    path_option("--template-dir", metavar="DIR", help="Folder with a config.pbtxt.j2 to use instead of ours."),
)  # fmt: skip


NETWORKS = group(
    "Networks",
    list_option("--models", "-m", show_default="all",
                help="Networks to build: names, glob patterns, or all."),
    path_option("--onnx", "path", multiple=True, metavar="FILE|DIR",
                help="Build your own ONNX file, or every .onnx file of a folder; may be repeated."),
    option("--torch", "target", metavar="PACKAGE.MODULE:FUNCTION",
           help="Build the torch module that your function returns."),
    option("--name", metavar="NAME", show_default="name of the file or function",
           help="Name of the model, with --onnx or --torch."),
    option("--input", "inputs", multiple=True, metavar="[NAME:]DIMS[:TYPE]",
           help="With --torch: an input without the batch, such as 3x224x224 or ids:128:int64; repeat it for more. "
           "With --onnx: dimensions of an input that the file leaves open."),
    path_option("--labels", show_default="ImageNet for the built-in networks",
                help="Names of the classes of one network, one per line."),
    option("--mean", callback=colours, metavar="R,G,B", show_default="ImageNet",
           help="Per-channel mean of images in 0..1, with --onnx or --torch."),
    option("--std", callback=colours, metavar="R,G,B", show_default="ImageNet",
           help="Per-channel standard deviation, with --onnx or --torch."),
    option("--resize", "resize_short_px", type=click.IntRange(1), metavar="PX",
           help="Short side of an image before the centre crop, with --onnx or --torch."),
    option("--weights", default="random", metavar="SOURCE",
           help="random; a publisher to download from: torchvision, timm or paddleclas; or a file or folder."),
    option("--seed", type=int, show_default="0", help="Seed of the random weights."),
)  # fmt: skip
BUILDING = group(
    "Build options",
    repository_option("--output", "-o", help="The model repository to write: a folder, or s3://bucket/prefix."),
    precision_option("Precision of the default config.pbtxt.", default="fp16"),
    list_option("--gpu", "gpus", default="v100,t4",
                help="GPUs for which configs/<gpu>-fp16.pbtxt and -fp32.pbtxt are written; cpu writes none."),
    option("--tolerance", type=float, default=1e-4, show_default="1e-4", metavar="ERROR",
           help="Maximum relative error against the reference, at most 1e-4: max |difference| / max |logit|."),
    list_option("--rewrites", default="all", help=f"Graph rewrites: all, none, or some of {', '.join(REWRITES)}."),
    option("--jobs", "-j", type=int, show_default="number of cores",
           help="Number of models that are built at the same time."),
    option("--memory", "memory_gib", type=float, metavar="GIB", show_default="half of the free memory",
           help="Memory that the models may use together."),
    option("--force", is_flag=True, help="Build every model, also those that are up to date."),
    option("--dry-run", is_flag=True, help="Only print what would be built, and why. Weights may be downloaded."),
)  # fmt: skip


@click.command(
    name="build",
    cls=Command,
    short_help="Make a verified model repository.",
    exclusive=(("models", "path", "target"),),
)
@NETWORKS
@BUILDING
@SERVING
@json_option
def command(
    *,
    models: tuple[str, ...],
    path: tuple[Path, ...],
    target: str | None,
    name: str | None,
    inputs: tuple[str, ...],
    mean: Colours | None,
    std: Colours | None,
    resize_short_px: int | None,
    weights: str,
    seed: int | None,
    precision: str,
    output: Path | S3Url,
    dry_run: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 (further parameters of `build`)
) -> int:
    """Export, simplify, verify and configure networks into a Triton model repository.

    A model is not published if the outputs of its ONNX file differ from those of the network.

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
    from generator.networks.user_networks import ImageInput

    if seed is not None and weights != RANDOM:
        raise BadValue("seed", seed, f"applies only to random weights, not to {weights}")
    own = own_networks(path, target, name, inputs, ImageInput(mean, std, resize_short_px))
    if not models and "models" in given_params(click.get_current_context()):
        raise BadValue("models", "", "no network is named", "--models all selects every network")
    chosen = chosen_networks(own or models or "all")
    given = {parameter: value for parameter, value in options.items() if value is not None}
    with build_progress(len(chosen)) as on_step, redirect_stdout(sys.stderr):  # code of the user may print
        report = build(
            chosen, precision=precision, output=output, weights=weights, seed=seed or 0, dry_run=dry_run,
            on_step=on_step, **given,
        )  # fmt: skip
    if as_json:
        print_json(report, dry_run=dry_run)
    elif dry_run and report.needed:
        rows = [(name, todo.outcome, todo.why) for name, todo in report.needed.items()]
        console.print_table(("Model", "Would be", "Because"), rows, left=3)
    elif report.built:
        print_summary(report, output, precision.lower())
    for error in () if as_json else report.failed.values():
        console.report(error)
    return max((error.exit_code for error in report.failed.values()), default=0)


def own_networks(
    path: tuple[Path, ...], target: str | None, name: str | None, inputs: tuple[str, ...], image: ImageInput
) -> list[Network]:
    """Return the networks of --onnx or --torch."""
    from generator.networks.user_networks import onnx_network, torch_network

    if target is not None:
        return [torch_network(target, name, inputs, image)]
    files: list[Path] = []
    for entry in path:
        listed = sorted(entry.glob("*.onnx")) if entry.is_dir() else [entry]
        if not listed:
            raise BadValue("path", entry, "has no .onnx file")
        files += listed
    given = {"name": name, "inputs": ",".join(inputs) or None}
    for parameter, value in given.items():
        if value is not None and len(files) > 1:
            raise BadValue(parameter, value, f"needs exactly one network ({len(files)} selected)")
    if files:
        return [onnx_network(file, name, inputs, image) for file in files]
    for parameter, value in (given | vars(image)).items():
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            raise BadValue(parameter, text, "needs --onnx or --torch")
    return []


def print_json(report: BuildReport, *, dry_run: bool) -> None:
    """Print the result, or what a build would do, as JSON."""
    from generator.builder.provenance import certificate_record

    needed: list[dict[str, Any]] = [
        {"model": name, "outcome": todo.outcome, "why": todo.why} for name, todo in report.needed.items()
    ]
    built = [
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
    failed = {name: console.sentence(error) for name, error in report.failed.items()}
    console.print_json({"models": needed if dry_run else built, "failed": failed})


def print_summary(report: BuildReport, output: Path | S3Url, precision: str) -> None:
    """Print the result as a table, and log notes about the models."""
    from generator.builder.staleness import NEW

    heads = ("Model", "Weights", "ONNX MB", "Nodes", "Error b1", "b4", "b8", "fp64", "FP16 est.", "Top-1", "Top-5")
    console.print_table(heads, [row(model) for model in report.built], left=2)
    certificate = report.built[0].certificate
    variants = ", ".join(report.built[0].variants)
    counts = Counter(report.needed[model.network.name].outcome for model in report.built)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    logger.info(
        "\n%d verified in %s (%s): config.pbtxt is %s, %s.\n"
        "Error: max |ONNX Runtime - network| / max |logit| at batch 1, 4, 8; bound %g. "
        "fp64: the network's own distance\nfrom itself in double precision. FP16 est.: an FP16 cast on the CPU, an "
        "estimate of TensorRT's. Top-1, top-5:\nimages of the largest batch with the same classes. -: no batch, or "
        "no such value. All values are in provenance.json.",
        len(report.built), output, outcomes, precision,
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


def row(model: BuiltModel) -> tuple[object, ...]:
    """Return the row of a model in the table."""
    certificate = model.certificate
    last = certificate.batches[-1]
    errors = [f"{batch.relative_error:.1e}" for batch in certificate.batches]
    estimates = [f"{error.relative_error:.1e}" if error else "-" for error in (certificate.fp64, certificate.fp16)]
    tops = ["-" if agree is None else f"{agree}/{last.batch_size}" for agree in (last.top1_agree, last.top5_agree)]
    return (
        model.network.name, model.weights.label, f"{model.size_bytes / 1e6:.1f}", model.graph.nodes,
        *errors, *["-"] * (3 - len(errors)), *estimates, *tops,
    )  # fmt: skip


def log_outcome(network: Network, step: str) -> None:
    """Log the outcome of a model."""
    from generator.builder.pipeline import OUTCOMES

    if step in OUTCOMES:
        logger.info("%s: %s", network.name, step)


@contextmanager
def build_progress(count: int) -> Iterator[OnStep]:
    """Show the progress of `count` models; `build` calls the yielded function at every step.

    A terminal shows a bar for all models and one per begun model; if there are many, the bar of a finished one goes.
    Without a terminal, outcomes are logged.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from generator.builder.pipeline import STEPS

    if not console.shows_progress():
        yield log_outcome
        return
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.fields[step]:<10}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console.make_console()) as progress:
        total = progress.add_task("all", total=count, step=f"0 of {count}")
        tasks: dict[str, TaskID] = {}
        ended: list[str] = []

        def on_step(network: Network, step: str) -> None:
            if network.name not in tasks:
                tasks[network.name] = progress.add_task(network.name, total=len(STEPS), step=step)
            task = tasks[network.name]
            progress.update(task, step=step)
            if step in STEPS:
                progress.update(task, completed=STEPS.index(step))
                return
            progress.update(task, completed=None if step == "failed" else len(STEPS), visible=count <= MANY_BARS)
            progress.stop_task(task)
            ended.append(network.name)
            progress.update(total, completed=len(ended), step=f"{len(ended)} of {count}")

        yield on_step
