"""Label files; Triton does not compare the number of labels with the output's classes.

Source: core, `Model::Init` (src/model.cc) and `LabelProvider` (src/label_provider.cc).
"""

from collections.abc import Iterator
from pathlib import Path

from generator.checker.rules.outcomes import Caution, Config, Place
from generator.checker.rules.paths import check_text_file, inside

LARGEST_BYTES = 64 << 20


def label_files(config: Config, folder: Path) -> Iterator[tuple[Path, Config, Place]]:
    """Yield the path, output and place of each label file; core joins an absolute path to the folder as well."""
    for index, output in enumerate(config["output"]):
        if output["label_filename"]:
            path = folder / str(output["label_filename"]).lstrip("/")
            yield path, output, ("output", index, "label_filename")


def check_labels(config: Config, folder: Path) -> None:
    """Check that each label file can be read (core, src/model.cc:100)."""
    for path, _, at in label_files(config, folder):
        if inside(path, folder):
            fix = "make it readable" if path.exists() else "write the file, or leave label_filename out"
            check_text_file(path, fix, at, at)


def labels_outside(config: Config, folder: Path) -> Iterator[Caution]:
    """Warn of label files outside the model: 24.10 reads them (tried), newer releases refuse (core, src/model.cc)."""
    for path, output, at in label_files(config, folder):
        if not inside(path, folder):
            yield Caution(
                f"label file path '{path}' for output '{output['name']}' in model '{config['name']}' is outside model "
                "directory: newer releases refuse it, and it was not read",
                "put the file beside config.pbtxt",
                at,
            )


def label_counts(config: Config, folder: Path) -> Iterator[Caution]:
    """Warn of label files with too few or too many labels; classes without a label have no name."""
    for path, output, at in label_files(config, folder):
        classes = [int(dim) for dim in output["dims"] if int(dim) != 1]
        if len(classes) == 1 and classes[0] > 1 and inside(path, folder) and path.stat().st_size <= LARGEST_BYTES:
            count = len(path.read_bytes().splitlines())
            if count != classes[0]:
                yield Caution(
                    f"{path.name} has {count} labels for the {classes[0]} classes of output '{output['name']}'",
                    "one label per line, for every class",
                    at,
                )
