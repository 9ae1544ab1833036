"""Names of classes, one per line."""

from pathlib import Path

from generator.errors import LabelsUnusable


def read_labels(path: Path, classes: int | None) -> bytes:
    """Return the labels in Triton's form, one per line.

    Args:
        path: UTF-8 text.
        classes: the number of classes that the output has; None if no output has one float per class.

    Raises:
        LabelsUnusable: the file is not such a text, or does not fit the output.
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
