"""Files that a config names: if they stay in the model's folder and can be read."""

import stat
from pathlib import Path

from generator.checker.rules.outcomes import DIES, INTERNAL, Place, Refusal

# A folder in the place of a config, labels or warm-up data ends the server in the same way (tried on 2.51.0).
ABORTS_ON_A_FOLDER = (
    "terminate called after throwing an instance of 'std::length_error' what():  basic_string::_M_replace_aux"
)


def inside(path: Path, folder: Path) -> bool:
    """Return True if a path is in the folder, with its links followed."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def check_text_file(path: Path, fix: str, at: Place, folder_at: Place) -> None:
    """Raise a refusal with C's strerror if a text file cannot be opened; a folder ends the server."""
    if path.is_dir():
        fix = f"{path.name} is a folder: the whole server aborts; name a file"
        raise Refusal(ABORTS_ON_A_FOLDER, fix, folder_at, DIES)
    try:
        why = "" if stat.S_ISREG(path.stat().st_mode) else "it is no regular file"  # opening a pipe would wait for ever
        if not why:
            path.open("rb").close()
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise Refusal(f"failed to open text file for read {path}: {why}", fix, at, INTERNAL)
