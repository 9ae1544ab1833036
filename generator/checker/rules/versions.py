"""The versions of a model that are loaded, and the names that Triton skips.

Source: core, `ModelLifeCycle`'s `VersionsToLoad` (src/model_repository_manager/model_lifecycle.cc).
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from generator.checker.rules.outcomes import Caution, Config, Refusal

NO_VERSIONS = ("warmup", "initial_state", "configs")
NUMBER = re.compile(r"[ \t\n\v\f\r]*(?P<number>[+-]?\d+)", re.ASCII)
LARGEST = 2**63


def version_number(folder: str) -> int | None:
    """Return the number that C's stoll reads from a folder's name, or None if Triton skips the folder.

    Source: core, src/model_repository_manager/model_lifecycle.cc:104.
    """
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
        if not -LARGEST <= number < LARGEST:
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
            yield Caution(
                f"{path.relative_to(folder)} is not read", "its name must be config.pbtxt, beside the versions"
            )
