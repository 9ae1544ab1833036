"""Label files.

Source: core, `Model::Init` (src/model.cc) and `LabelProvider` (src/label_provider.cc). Their length is not compared
with the output's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import DIES, Hurts, Refused
from generator.checker.rules.paths import ABORTS_ON_A_FOLDER, inside, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    Config = Mapping[str, Any]

LARGEST_BYTES = 64 << 20


def label_path(output: Config, folder: Path) -> Path:
    """The file of an output's labels; core joins an absolute path to the folder as well."""
    return folder / str(output["label_filename"]).lstrip("/")


def labels_are_there(config: Config, folder: Path) -> None:
    """Each is a file.

    Source: core, src/model.cc:100.
    """
    for place, output in enumerate(config["output"]):
        path = label_path(output, folder)
        if not output["label_filename"] or not inside(path, folder):
            continue
        at = ("output", place, "label_filename")
        if path.is_dir():
            raise Refused(
                ABORTS_ON_A_FOLDER, f"{path.name} is a folder: the whole server aborts; name a file", at, DIES
            )
        if why := unreadable(path):
            raise Refused(
                f"failed to open text file for read {path}: {why}",
                "make it readable" if path.exists() else "write the file, or leave label_filename out",
                at,
                "Internal",
            )


def labels_outside(config: Config, folder: Path) -> Iterator[Hurts]:
    """24.10 reads them (tried); newer releases refuse the model (core, src/model.cc)."""
    for place, output in enumerate(config["output"]):
        path = label_path(output, folder)
        if output["label_filename"] and not inside(path, folder):
            yield Hurts(
                f"label file path '{path}' for output '{output['name']}' in model '{config['name']}' is outside model "
                "directory: newer releases refuse it, and it was not read",
                "put the file beside config.pbtxt",
                ("output", place, "label_filename"),
            )


def labels_fit(config: Config, folder: Path) -> Iterator[Hurts]:
    """As many as the output has classes; with too few the rest have no name."""
    for place, output in enumerate(config["output"]):
        path = label_path(output, folder)
        classes = [int(dim) for dim in output["dims"] if int(dim) != 1]
        if not output["label_filename"] or not inside(path, folder) or path.stat().st_size > LARGEST_BYTES:
            continue
        if len(classes) == 1 and classes[0] > 1:
            count = len(path.read_bytes().splitlines())
            if count != classes[0]:
                yield Hurts(
                    f"{path.name} has {count} labels for the {classes[0]} classes of output '{output['name']}'",
                    "one label a line, for every class",
                    ("output", place, "label_filename"),
                )
