"""`tritongen infer`."""

import logging
from pathlib import Path

import click

from generator.commands import console
from generator.commands.click_options import Command, group, json_option, option, repository_option, url_option
from generator.repository.s3.url import S3Url

logger = logging.getLogger(__name__)


@click.command(name="infer", cls=Command, short_help="Classify images.")
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="IMAGE...")
@group(
    "Classification",
    option("--model", "-m", required=True, metavar="NAME", help="Name of the model."),
    option("--top", type=click.IntRange(1, 1000), default=5, metavar="N", help="Number of classes to print."),
)
@group(
    "Server",
    url_option,
    repository_option("--repository", help="The model repository to serve if no Triton runs."),
)
@json_option
def command(
    *, images: tuple[Path, ...], model: str, top: int, url: str | None, repository: Path | S3Url, as_json: bool
) -> None:
    """Classify images with a served model and print the top labels.

    \b
    Example:
      tritongen infer cat.jpg --model densenet121
    """
    from generator.server.client import infer

    classified = infer(images, model, top=top, url=url, repository=repository)
    name, weights = classified.model, classified.weights
    if as_json:
        labelled = [{"image": str(path), "classes": guesses} for path, guesses in classified.images.items()]
        console.print_json({"model": name, "weights": weights, "images": labelled})
        return
    if weights.startswith("random"):
        hint = "`tritongen build --weights torchvision` (or timm, paddleclas) loads trained ones"
        logger.warning("%s has %s weights: its labels are meaningless; %s", name, weights, hint)
    for path, guesses in classified.images.items():
        console.print_text(path)
        rows = [(f"{guess.logit:9.4f}", f"{guess.index:5}", guess.label) for guess in guesses]
        console.print_table((" Logit", "Class", "Label"), rows, left=3)
