"""A model's folder: the versions that are loaded, the names that Triton skips, and files that a config names.

Source: core, `VersionsToLoad` (src/model_repository_manager/model_lifecycle.cc), `Model::Init` (src/model.cc) and
`LabelProvider` (src/label_provider.cc). Triton does not compare the number of labels with the output's classes.
"""

import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from generator.checker.rules.basics import DIES, INTERNAL, Caution, Config, Place, Refusal

LARGEST_BYTES = 64 << 20  # of a label file
NO_VERSIONS = ("warmup", "initial_state", "configs")
NUMBER = re.compile(r"[ \t\n\v\f\r]*(?P<number>[+-]?\d+)", re.ASCII)
LARGEST_VERSION = 2**63
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
                sentence = f"{path.name} has {count} labels for the {classes[0]} classes of output '{output['name']}'"
                yield Caution(sentence, "one label per line, for every class", at)


def version_number(folder: str) -> int | None:
    """Return the number that C's stoll reads from a folder's name; None if it is skipped (model_lifecycle.cc:104)."""
    number = NUMBER.match(folder)
    if number is None or folder in NO_VERSIONS or (len(folder) > 1 and folder.startswith("0")):
        return None
    return int(number["number"])


def versions_to_load(config: Config, folders: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the folders that Triton looks for: the number of each version.

    Source: core, src/model_repository_manager/model_lifecycle.cc:85.

    Raises:
        Refusal: there is no version, or the number of one is out of range: no one catches that, and the server aborts.
    """
    existing = {number: folder for folder in folders if (number := version_number(folder)) is not None}
    for number, folder in existing.items():
        if not -LARGEST_VERSION <= number < LARGEST_VERSION:
            raise Refusal(
                "terminate called after throwing an instance of 'std::out_of_range' what():  stoll",
                f"rename the folder {folder}: its number aborts the whole server",
            )
    policy = config["version_policy"]
    if "specific" in policy:
        chosen = sorted(existing.keys() & set(map(int, policy["specific"].get("versions", []))))
    elif "all" in policy:
        chosen = sorted(existing)
    else:  # without a policy, the newest
        chosen = sorted(existing, reverse=True)[: int(policy["latest"]["num_versions"]) if "latest" in policy else 1]
    if not chosen:
        raise Refusal(
            f"at least one version must be available under the version policy of model '{config['name']}'",
            "put the model into a version folder such as 1/, and let version_policy name it",
            ("version_policy",),
        )
    return tuple(str(number % 2**64) for number in chosen)  # Triton prints it as an unsigned number


def skipped_folders(folders: Iterable[str]) -> Iterator[Caution]:
    """Warn of folders that Triton skips because their name is no version."""
    for name in folders:
        if name not in NO_VERSIONS and version_number(name) is None:
            yield Caution(f"the folder {name!r} is not a version, and is skipped", "versions are numbers such as 1")


def ignored_configs(folder: Path) -> Iterator[Caution]:
    """Warn of a config that Triton does not look for, if the model has no config.pbtxt."""
    if (folder / "config.pbtxt").exists():
        return
    for path in sorted([*folder.iterdir(), *folder.glob("*/config.pbtxt")]):
        if path.name.lower().startswith("config.") and path.is_file():
            fix = "its name must be config.pbtxt, beside the versions"
            yield Caution(f"{path.relative_to(folder)} is not read", fix)
