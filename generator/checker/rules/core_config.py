"""Core's rules for a config on its own, before any version is loaded, and warnings about settings that do harm later.

Source: core, `ValidateModelConfig` and `GetBooleanSequenceControlProperties` (src/model_config_utils.cc). The sentences
of the warnings are ours.
"""

import re
from collections import Counter

from generator.checker.rules.backends import PLATFORMS
from generator.checker.rules.basics import Config, Place, Row

# The agents of NVIDIA's image; a check cannot know which others a server has.
REPOSITORY_AGENTS = ("checksum",)
SEQUENCES: Place = ("sequence_batching", 0)
CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
CONTROLS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY", CORRELATION_ID)
VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
EITHER = "either 'int32_false_true', 'fp32_false_true' or 'bool_false_true'"
ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")
# HTTP does not decode the path: Triton takes /v2/models/<name> as it is written (tried on 2.51.0).
REACHABLE = re.compile(r"[A-Za-z0-9._~!$&'()*=@-]+", re.ASCII)
FLOATS = ("TYPE_FP16", "TYPE_FP32", "TYPE_FP64")


def config_rules(config: Config, folder_name: str) -> dict[str, list[Row]]:
    """Return the rows of each rule, by the rule's id."""
    name, backend, platform, batching = (config.get(key) for key in ("name", "backend", "platform", "dynamic_batching"))
    cached = config.get("response_cache", {}).get("enable")
    expected = PLATFORMS.get(config["backend"], (config["platform"],))
    return {
        "repository-agents": [  # core, src/repo_agent.cc
            (agent["name"] not in REPOSITORY_AGENTS,
             (f"unable to find 'libtritonrepoagent_{agent['name']}.so' for repo agent '{agent['name']}', searched: "
              "/opt/tritonserver/repoagents"),
             "leave the agent out, or install its library on the server",
             ("model_repository_agents", 0, "agents", index, "name"))
            for index, agent in enumerate(config.get("model_repository_agents", {}).get("agents", []))
        ],
        "backend-is-said": [  # core, src/model_config_utils.cc:1448
            (not backend and platform != "ensemble", f"unexpected platform type '{platform}' for {name}",
             'write backend: "onnxruntime" instead', ("platform",)),
            (backend and platform == "ensemble",
             f"Ensemble model '{name}' must have platform type 'ensemble' and empty backend type",
             "leave backend out of an ensemble", ("backend",)),
        ],
        "platform-is-the-backends": [  # core, src/model_config_utils.cc:1474
            (platform not in expected, f"unexpected 'platform' and 'backend' pair, got:{platform}, {backend}",
             f'leave platform out, or write "{expected[0]}"', ("platform",)),
        ],
        "batch-is-no-negative": [  # core, src/model_config_utils.cc:1481
            (config["max_batch_size"] < 0, f"'max_batch_size' must be non-negative value for {name}",
             "0 means no batching", ("max_batch_size",)),
        ],
        "preferred-sizes-fit": [  # core, src/model_config_utils.cc:1497
            row
            for index, size in enumerate((batching or {}).get("preferred_batch_size", []))
            for row in size_rows(config, size, "dynamic batching preferred size",
                                 ("dynamic_batching", 0, "preferred_batch_size", index))
        ],
        "priorities": priority_rows(config),
        "response-cache-is-possible": [  # core, src/model_config_utils.cc:1575
            (cached and excluded,
             (f"Response Cache does not currently support model {name} with {scheduler}. Please disable the "
              "response cache."),
             "response_cache { enable: false }", ("response_cache",))
            for excluded, scheduler in (
                ("sequence_batching" in config, "sequence batching scheduler"),
                (config.get("model_transaction_policy", {}).get("decoupled"), "'decoupled' transaction policy"),
            )
        ],
        "controls-are-whole": control_rows(config),
        "strategy-fits": strategy_rows(config),
        "name-is-the-folders": [  # core, src/model_repository_manager/model_repository_manager.cc:1701
            (name != folder_name,
             (f"unexpected directory name '{folder_name}' for model '{name}', directory name must equal model "
              "name"), "leave name out, or write the folder's name", ("name",)),
        ],
    }  # fmt: skip


def size_rows(config: Config, size: int, about: str, at: Place) -> list[Row]:
    """Return the rows for a preferred batch size."""
    name = config["name"]
    return [
        (size <= 0, f"{about} must be positive for {name}", "leave that size out", at),
        (size > config["max_batch_size"], f"{about} must be <= max batch size for {name}",
         f"leave {size} out, or raise max_batch_size", at),
    ]  # fmt: skip


def priority_rows(config: Config) -> list[Row]:
    """Return the rows for priority levels and `preserve_ordering` (core, src/model_config_utils.cc:1516)."""
    name, batching, at = config["name"], config.get("dynamic_batching", {}), ("dynamic_batching", 0)
    levels, ordered = int(batching.get("priority_levels", 0)), batching.get("preserve_ordering")
    policies = batching.get("priority_queue_policy", {})
    delayed = any(
        policy and int(policy["default_timeout_microseconds"]) and policy["timeout_action"] == "DELAY"
        for policy in (batching.get("default_queue_policy"), *policies.values())
    )
    return [
        (levels and not 1 <= int(batching["default_priority_level"]) <= levels,
         f"default priority level must be in range [1, {levels}] for {name}",
         "set default_priority_level", (*at, "default_priority_level")),
        (levels and any(not 1 <= int(level) <= levels for level in policies),
         f"priority queue policy must have priority level in range [1, {levels}] for {name}",
         "write one policy per existing level", (*at, "priority_queue_policy")),
        (ordered and levels > 1,
         f"Only one priority level is allowed when 'preserve_ordering' is true for {name}",
         "leave preserve_ordering out", (*at, "preserve_ordering")),
        (ordered and delayed,
         f"Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for {name}",
         "timeout_action: REJECT", (*at, "default_queue_policy")),
    ]  # fmt: skip


def control_rows(config: Config) -> list[Row]:
    """Return the rows for the sequence batcher's controls: one named tensor each, with a false and a true value.

    The correlation ID has a type and no values.
    """
    name, tensors = config["name"], config.get("sequence_batching", {}).get("control_input", [])
    rows: list[Row] = []
    for kind in CONTROLS:
        pairs = [(tensor, control) for tensor in tensors for control in tensor["control"] if control["kind"] == kind]
        rows += [
            (not all(tensor["name"] for tensor, _ in pairs),
             f"sequence batching control tensor must have a name for {name}", "name it", SEQUENCES),
            (len(pairs) > 1, f"sequence batching specifies multiple {kind} tensors for {name}", "leave one", SEQUENCES),
        ]  # fmt: skip
        for _, control in pairs:
            given = [values for values in VALUES if control[values]]
            about = f"{kind} for {name}"
            rows += [
                (given, f"sequence batching must not specify {EITHER} for {about}", "leave them out", SEQUENCES),
                (control["data_type"] not in ID_TYPES,
                 (f"unexpected data type for control {about}. Allowed data types are TYPE_UINT64, TYPE_INT64, "
                  "TYPE_UINT32, TYPE_INT32 and TYPE_STRING"),
                 "data_type: TYPE_UINT64", SEQUENCES),
            ] if kind == CORRELATION_ID else [
                (not given, f"sequence batching must specify {EITHER} for {about}", "int32_false_true: [ 0, 1 ]",
                 SEQUENCES),
                (len(given) > 1,
                 ("sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and "
                  f"'bool_false_true' for {about}"), "leave one", SEQUENCES),
                *((len(control[values]) != len((False, True)),
                   f"sequence batching control '{values}' must have exactly 2 entries for {about}", "false, true",
                   SEQUENCES) for values in given),
            ]  # fmt: skip
    return rows


def strategy_rows(config: Config) -> list[Row]:
    """Return the rows for the sequence batcher's preferred batch sizes and slot utilization."""
    batching = config.get("sequence_batching", {})
    share = float(batching.get("direct", {}).get("minimum_slot_utilization", 0.0))
    sizes = batching.get("oldest", {}).get("preferred_batch_size", [])
    return [
        *(row for size in sizes
          for row in size_rows(config, size, "sequence batching preferred batch size", SEQUENCES)),
        (not 0.0 <= share <= 1.0,
         f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {config['name']}",
         "write a share, such as 0.5", SEQUENCES),
    ]  # fmt: skip


def config_warnings(config: Config) -> dict[str, list[Row]]:
    """Return the rows of each warning about settings that load and then misbehave, by the rule's id."""
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
