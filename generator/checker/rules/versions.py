"""Which versions of a model are loaded.

Source: core, `ModelLifeCycle`'s `VersionsToLoad` (src/model_repository_manager/model_lifecycle.cc).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Config = Mapping[str, Any]

NO_VERSIONS = ("warmup", "initial_state", "configs")
NUMBER = re.compile(r"[ \t\n\v\f\r]*(?P<number>[+-]?\d+)", re.ASCII)
LARGEST = 2**63


def versions_to_load(config: Config, folders: Iterable[str]) -> tuple[str, ...]:
    """The names of the folders that Triton looks for: the number of each version.

    Source: core, src/model_repository_manager/model_lifecycle.cc:85.

    Raises:
        Refused: there is none, or one whose number ends the server.
    """
    existing = {number for folder in folders if (number := version_of(folder)) is not None}
    policy = config["version_policy"]
    if "specific" in policy:
        chosen = sorted(existing & set(map(int, policy["specific"].get("versions", []))))
    elif "all" in policy:
        chosen = sorted(existing)
    else:  # with nothing said, the newest
        newest = sorted(existing, reverse=True)
        chosen = newest[: int(policy["latest"]["num_versions"]) if "latest" in policy else 1]
    if not chosen:
        raise Refused(
            f"at least one version must be available under the version policy of model '{config['name']}'",
            "put the model into a version folder such as 1/, and let version_policy name it",
            ("version_policy",),
        )
    return tuple(str(number % 2**64) for number in chosen)  # it is printed as an unsigned number


def version_of(folder: str) -> int | None:
    """The number that C's stoll reads of a name, or None where Triton passes the folder over.

    Source: core, src/model_repository_manager/model_lifecycle.cc:104.

    Raises:
        Refused: the number is out of range, which no one catches: the whole server aborts.
    """
    if folder in NO_VERSIONS or (len(folder) > 1 and folder.startswith("0")):
        return None
    number = NUMBER.match(folder)
    if number is None:
        return None
    value = int(number["number"])
    if not -LARGEST <= value < LARGEST:
        raise Refused(
            "terminate called after throwing an instance of 'std::out_of_range' what():  stoll",
            f"rename the folder {folder}: its number aborts the whole server",
        )
    return value


def passed_over(folders: Sequence[str]) -> list[str]:
    """Folders that are no version, and none that Triton knows."""
    return [
        folder
        for folder in folders
        if folder not in NO_VERSIONS and (NUMBER.match(folder) is None or (folder != "0" and folder[:1] == "0"))
    ]
