"""ImageNet: its classes, and images as its networks take them; files with the names of classes."""

from pathlib import Path

from generator.errors import LabelsUnusable

ASSETS = Path(__file__).parent / "assets"
CLASS_NAMES = ASSETS / "imagenet_classes.txt"
CLASSES = 1000
SIDE_PX = 224


def read_labels(path: Path, classes: int | None) -> bytes:
    """Return a file's labels in Triton's form, one per line; `classes` is None if no output has one float per class.

    Raises:
        LabelsUnusable: the file is not UTF-8 text, or does not have one label per class.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError as error:
        raise LabelsUnusable(path, "there is no such file") from error
    except UnicodeDecodeError as error:
        raise LabelsUnusable(path, "it is not UTF-8 text") from error
    except OSError as error:
        raise LabelsUnusable(path, (error.strerror or str(error)).lower()) from error
    while lines and not lines[-1]:
        lines.pop()
    if classes is None:
        raise LabelsUnusable(path, "the network has no single output with one float per class")
    if len(lines) != classes:
        raise LabelsUnusable(path, f"it has {len(lines)} labels, but the output has {classes} classes")
    for number, line in enumerate(lines, start=1):
        if not line or not line.isprintable():
            raise LabelsUnusable(path, f"line {number} is empty or not printable")
    return "".join(f"{line}\n" for line in lines).encode()
