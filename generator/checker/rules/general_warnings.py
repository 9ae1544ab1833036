"""What loads, and then hurts; the sentences are ours."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Hurts
from generator.checker.rules.versions import passed_over

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Config = Mapping[str, Any]

# HTTP does not decode the path: /v2/models/<name> is taken as it is written (tried on 2.51.0).
REACHABLE = re.compile(r"[A-Za-z0-9._~!$&'()*=@-]+", re.ASCII)


def listed_twice(config: Config) -> Iterator[Hurts]:
    """The second of one name then fails every request."""
    for kind in ("input", "output"):
        counts = Counter(block["name"] for block in config[kind])
        for name, count in counts.items():
            if count > 1:
                yield Hurts(f"{kind} '{name}' is listed {count} times", "list it once", (kind, 1))


def name_out_of_reach(config: Config) -> Iterator[Hurts]:
    """HTTP clients write the name into a path."""
    if not REACHABLE.fullmatch(config["name"]):
        yield Hurts(
            f"the name {config['name']!r} cannot be reached over HTTP", "letters, digits, dots, - and _", ("name",)
        )


def batching_without_batches(config: Config) -> Iterator[Hurts]:
    """The dynamic batcher has nothing to do."""
    if "dynamic_batching" in config and config["max_batch_size"] == 0:
        yield Hurts(
            "dynamic_batching does nothing where max_batch_size is 0",
            "leave it out, or set max_batch_size",
            ("dynamic_batching",),
        )


def policies_without_levels(config: Config) -> Iterator[Hurts]:
    """Core does not look at them."""
    batching = config.get("dynamic_batching", {})
    if batching.get("priority_queue_policy") and not int(batching.get("priority_levels", 0)):
        yield Hurts(
            "priority_queue_policy does nothing without priority_levels",
            "set priority_levels",
            ("dynamic_batching", 0, "priority_queue_policy"),
        )


def random_warmup(config: Config) -> Iterator[Hurts]:
    """Random data are random bytes, and as floats some of them are NaN."""
    for place, sample in enumerate(config["model_warmup"]):
        for entry in sample["inputs"].values():
            if entry.get("random_data") and entry["data_type"] in ("TYPE_FP16", "TYPE_FP32", "TYPE_FP64"):
                yield Hurts(
                    f"warm-up '{sample['name']}' is of random bytes, NaN among them",
                    "zero_data: true",
                    ("model_warmup", place),
                )
                break


RULES = (listed_twice, name_out_of_reach, batching_without_batches, policies_without_levels, random_warmup)


def configs_not_read(folder: Path) -> Iterator[Hurts]:
    """A config under a name that Triton does not look for, where there is none under the one it does."""
    if (folder / "config.pbtxt").exists():
        return
    for path in sorted([*folder.iterdir(), *folder.glob("*/config.pbtxt")]):
        if path.name.lower().startswith("config.") and path.is_file():
            yield Hurts(f"{path.relative_to(folder)} is not read", "its name must be config.pbtxt, beside the versions")


def folders_passed_over(folders: Sequence[str]) -> Iterator[Hurts]:
    """Triton takes them for versions whose name it cannot read."""
    for name in passed_over(folders):
        yield Hurts(f"the folder {name!r} is no version, and is passed over", "versions are numbers such as 1")
