"""Core's rules for a config on its own, before any version of the model is loaded.

Source: core, `ValidateModelConfig` and `GetBooleanSequenceControlProperties` (src/model_config_utils.cc).
"""

from collections.abc import Sequence

from generator.checker.rules.backends import PLATFORMS
from generator.checker.rules.outcomes import Config, Place, Refusal, refuse

# The agents of NVIDIA's image; a check cannot know which others a server has.
REPOSITORY_AGENTS = ("checksum",)
SEQUENCES: Place = ("sequence_batching", 0)
CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
CONTROLS = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY", CORRELATION_ID)
VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
EITHER = "either 'int32_false_true', 'fp32_false_true' or 'bool_false_true'"
ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def check_repository_agents(config: Config) -> None:
    """Check that the server has the library of each repository agent (core, src/repo_agent.cc)."""
    for index, agent in enumerate(config.get("model_repository_agents", {}).get("agents", [])):
        refuse(
            (agent["name"] not in REPOSITORY_AGENTS,
             (f"unable to find 'libtritonrepoagent_{agent['name']}.so' for repo agent '{agent['name']}', searched: "
              "/opt/tritonserver/repoagents"),
             "leave the agent out, or install its library on the server",
             ("model_repository_agents", 0, "agents", index, "name")),
        )  # fmt: skip


def check_platform(config: Config) -> None:
    """Check that the platform belongs to a backend, or to an ensemble (core, src/model_config_utils.cc:1448)."""
    backend, platform = config["backend"], config["platform"]
    refuse(
        (not backend and platform != "ensemble", f"unexpected platform type '{platform}' for {config['name']}",
         'write backend: "onnxruntime" instead', ("platform",)),
        (backend and platform == "ensemble",
         f"Ensemble model '{config['name']}' must have platform type 'ensemble' and empty backend type",
         "leave backend out of an ensemble", ("backend",)),
    )  # fmt: skip


def check_backend_platform(config: Config) -> None:
    """Check that the platform is one of the backend's, if it has platforms (core, src/model_config_utils.cc:1474)."""
    backend, platform = config["backend"], config["platform"]
    expected = PLATFORMS.get(backend, (platform,))
    refuse(
        (platform not in expected, f"unexpected 'platform' and 'backend' pair, got:{platform}, {backend}",
         f'leave platform out, or write "{expected[0]}"', ("platform",)),
    )  # fmt: skip


def check_max_batch_size(config: Config) -> None:
    """Check that the largest batch is 0 or more (core, src/model_config_utils.cc:1481)."""
    refuse(
        (config["max_batch_size"] < 0, f"'max_batch_size' must be non-negative value for {config['name']}",
         "0 means no batching", ("max_batch_size",)),
    )  # fmt: skip


def check_preferred_sizes(config: Config) -> None:
    """Check the dynamic batcher's preferred batch sizes (core, src/model_config_utils.cc:1497)."""
    at = ("dynamic_batching", 0, "preferred_batch_size")
    for index, size in enumerate(config.get("dynamic_batching", {}).get("preferred_batch_size", [])):
        check_size(config, size, "dynamic batching preferred size", (*at, index))


def check_size(config: Config, size: int, about: str, at: Place) -> None:
    """Check that a preferred batch size is above 0 and at most the largest batch."""
    if size <= 0:
        raise Refusal(f"{about} must be positive for {config['name']}", "leave that size out", at)
    if size > config["max_batch_size"]:
        sentence = f"{about} must be <= max batch size for {config['name']}"
        raise Refusal(sentence, f"leave {size} out, or raise max_batch_size", at)


def check_priorities(config: Config) -> None:
    """Check priority levels, and that `preserve_ordering` has one level without delays.

    Source: core, src/model_config_utils.cc:1516.
    """
    name, batching, at = config["name"], config.get("dynamic_batching", {}), ("dynamic_batching", 0)
    levels, ordered = int(batching.get("priority_levels", 0)), batching.get("preserve_ordering")
    policies = batching.get("priority_queue_policy", {})
    delayed = any(
        policy and int(policy["default_timeout_microseconds"]) and policy["timeout_action"] == "DELAY"
        for policy in (batching.get("default_queue_policy"), *policies.values())
    )
    refuse(
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
    )  # fmt: skip


def check_response_cache(config: Config) -> None:
    """Check that no cached model has sequences or decoupled answers (core, src/model_config_utils.cc:1575)."""
    enabled = config.get("response_cache", {}).get("enable")
    decoupled = config.get("model_transaction_policy", {}).get("decoupled")
    for excluded, scheduler in (
        ("sequence_batching" in config, "sequence batching scheduler"),
        (decoupled, "'decoupled' transaction policy"),
    ):
        refuse(
            (enabled and excluded,
             (f"Response Cache does not currently support model {config['name']} with {scheduler}. Please disable the "
              "response cache."),
             "response_cache { enable: false }", ("response_cache",)),
        )  # fmt: skip


def check_sequence_controls(config: Config) -> None:
    """Check that each control of the sequence batcher has one named tensor.

    Source: core, src/model_config_utils.cc, ValidateModelConfig.
    """
    name, tensors = config["name"], config.get("sequence_batching", {}).get("control_input", [])
    for kind in CONTROLS:
        pairs = [(tensor, control) for tensor in tensors for control in tensor["control"] if control["kind"] == kind]
        refuse(
            (not all(tensor["name"] for tensor, _ in pairs),
             f"sequence batching control tensor must have a name for {name}", "name it", SEQUENCES),
            (len(pairs) > 1, f"sequence batching specifies multiple {kind} tensors for {name}", "leave one", SEQUENCES),
        )  # fmt: skip
        for _, control in pairs:
            given = [values for values in VALUES if control[values]]
            check_control(f"for {kind} for {name}", kind, control, given)


def check_control(of_model: str, kind: str, control: Config, given: Sequence[str]) -> None:
    """Check the false and true values of a control; the correlation ID has a type and no values.

    Source: core, src/model_config_utils.cc, GetBooleanSequenceControlProperties.
    """
    if kind == CORRELATION_ID:
        refuse(
            (given, f"sequence batching must not specify {EITHER} {of_model}", "leave them out", SEQUENCES),
            (control["data_type"] not in ID_TYPES,
             (f"unexpected data type for control {of_model.removeprefix('for ')}. Allowed data types are TYPE_UINT64, "
              "TYPE_INT64, TYPE_UINT32, TYPE_INT32 and TYPE_STRING"),
             "data_type: TYPE_UINT64", SEQUENCES),
        )  # fmt: skip
        return
    first = next(iter(given), "")
    refuse(
        (not given, f"sequence batching must specify {EITHER} {of_model}", "int32_false_true: [ 0, 1 ]", SEQUENCES),
        (len(given) > 1,
         ("sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and 'bool_false_true' "
          f"{of_model}"), "leave one", SEQUENCES),
        (first and len(control[first]) != len((False, True)),
         f"sequence batching control '{first}' must have exactly 2 entries {of_model}", "false, true", SEQUENCES),
    )  # fmt: skip


def check_sequence_strategy(config: Config) -> None:
    """Check the sequence batcher's preferred batch sizes and slot utilization.

    Source: core, src/model_config_utils.cc, ValidateModelConfig.
    """
    batching = config.get("sequence_batching", {})
    for size in batching.get("oldest", {}).get("preferred_batch_size", []):
        check_size(config, size, "sequence batching preferred batch size", SEQUENCES)
    share = float(batching.get("direct", {}).get("minimum_slot_utilization", 0.0))
    refuse(
        (not 0.0 <= share <= 1.0,
         f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {config['name']}",
         "write a share, such as 0.5", SEQUENCES),
    )  # fmt: skip


RULES = (
    ("repository-agents", check_repository_agents),
    ("backend-is-said", check_platform),
    ("platform-is-the-backends", check_backend_platform),
    ("batch-is-no-negative", check_max_batch_size),
    ("preferred-sizes-fit", check_preferred_sizes),
    ("priorities", check_priorities),
    ("response-cache-is-possible", check_response_cache),
    ("controls-are-whole", check_sequence_controls),
    ("strategy-fits", check_sequence_strategy),
)


def check_name(config: Config, folder_name: str) -> None:
    """Check that the model has its folder's name.

    Source: core, src/model_repository_manager/model_repository_manager.cc:1701.
    """
    refuse(
        (config["name"] != folder_name,
         (f"unexpected directory name '{folder_name}' for model '{config['name']}', directory name must equal model "
          "name"), "leave name out, or write the folder's name", ("name",)),
    )  # fmt: skip
