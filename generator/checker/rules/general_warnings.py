"""Settings that load and then misbehave; the sentences are ours."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generator.checker.rules.outcomes import Config, Row

# HTTP does not decode the path: Triton takes /v2/models/<name> as it is written (tried on 2.51.0).
REACHABLE = re.compile(r"[A-Za-z0-9._~!$&'()*=@-]+", re.ASCII)
FLOATS = ("TYPE_FP16", "TYPE_FP32", "TYPE_FP64")


def general_warnings(config: Config) -> dict[str, list[Row]]:
    """Return the rows of each rule that needs only the config, by the rule's id."""
    name, batching = config["name"], config.get("dynamic_batching", {})
    return {
        # The second block of one name fails every request.
        "listed-twice": [
            (count > 1, f"{kind} '{block}' is listed {count} times", "list it once", (kind, 1))
            for kind in ("input", "output")
            for block, count in Counter(block["name"] for block in config[kind]).items()
        ],
        "name-out-of-reach": [
            (not REACHABLE.fullmatch(name), f"the name {name!r} cannot be reached over HTTP",
             "letters, digits, dots, - and _", ("name",)),
        ],
        "batching-without-batches": [
            ("dynamic_batching" in config and config["max_batch_size"] == 0,
             "dynamic_batching does nothing if max_batch_size is 0", "leave it out, or set max_batch_size",
             ("dynamic_batching",)),
        ],
        "policies-without-levels": [
            (batching.get("priority_queue_policy") and not int(batching.get("priority_levels", 0)),
             "priority_queue_policy does nothing without priority_levels", "set priority_levels",
             ("dynamic_batching", 0, "priority_queue_policy")),
        ],
        "random-warmup": [
            (any(e.get("random_data") and e["data_type"] in FLOATS for e in sample["inputs"].values()),
             f"warm-up '{sample['name']}' uses random bytes, some of which are NaN", "zero_data: true",
             ("model_warmup", index))
            for index, sample in enumerate(config["model_warmup"])
        ],
    }  # fmt: skip
