"""Core's rules for a whole config, before any version of the model is looked at.

Source: core, `ValidateModelConfig` (src/model_config_utils.cc) and the check of the name after it
(src/model_repository_manager/model_repository_manager.cc). A function a rule, in core's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.core_defaults import BACKENDS, TENSORFLOW
from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    Config = Mapping[str, Any]

# The agents of NVIDIA's image; what others there are on a server cannot be known here.
REPOSITORY_AGENTS = ("checksum",)
DELAY = "DELAY"


def repository_agents(config: Config, _folder_name: str) -> None:
    """An agent is a library of the server's.

    Source: core, src/repo_agent.cc.
    """
    for place, agent in enumerate(config.get("model_repository_agents", {}).get("agents", [])):
        if agent["name"] not in REPOSITORY_AGENTS:
            raise Refused(
                f"unable to find 'libtritonrepoagent_{agent['name']}.so' for repo agent '{agent['name']}', searched: "
                "/opt/tritonserver/repoagents",
                "leave the agent out, or see that the server has its library",
                ("model_repository_agents", 0, "agents", place, "name"),
            )


def backend_is_said(config: Config, _folder_name: str) -> None:
    """A platform stands for a backend, or is an ensemble.

    Source: core, src/model_config_utils.cc:1448.
    """
    if not config["backend"] and config["platform"] != "ensemble":
        raise Refused(
            f"unexpected platform type '{config['platform']}' for {config['name']}",
            'write backend: "onnxruntime" in its place',
            ("platform",),
        )
    if config["backend"] and config["platform"] == "ensemble":
        raise Refused(
            f"Ensemble model '{config['name']}' must have platform type 'ensemble' and empty backend type",
            "leave backend out of an ensemble",
            ("backend",),
        )


def platform_is_the_backends(config: Config, _folder_name: str) -> None:
    """Of the backends that have platforms, each has its own.

    Source: core, src/model_config_utils.cc:1474.
    """
    platforms: dict[str, tuple[str, ...]] = {backend: (platform,) for backend, platform, _ in BACKENDS if platform}
    platforms["tensorflow"] = tuple(TENSORFLOW.values())
    expected = platforms.get(config["backend"])
    if expected and config["platform"] not in expected:
        raise Refused(
            f"unexpected 'platform' and 'backend' pair, got:{config['platform']}, {config['backend']}",
            f'leave platform out, or write "{expected[0]}"',
            ("platform",),
        )


def batch_is_no_negative(config: Config, _folder_name: str) -> None:
    """0 is no batching.

    Source: core, src/model_config_utils.cc:1481.
    """
    if config["max_batch_size"] < 0:
        raise Refused(
            f"'max_batch_size' must be non-negative value for {config['name']}", "0 is no batching", ("max_batch_size",)
        )


def preferred_sizes_fit(config: Config, _folder_name: str) -> None:
    """Above 0, and not above the largest batch.

    Source: core, src/model_config_utils.cc:1497.
    """
    for place, size in enumerate(config.get("dynamic_batching", {}).get("preferred_batch_size", [])):
        at = ("dynamic_batching", 0, "preferred_batch_size", place)
        if size <= 0:
            raise Refused(
                f"dynamic batching preferred size must be positive for {config['name']}", "leave that size out", at
            )
        if size > config["max_batch_size"]:
            raise Refused(
                f"dynamic batching preferred size must be <= max batch size for {config['name']}",
                f"leave {size} out, or raise max_batch_size",
                at,
            )


def priorities(config: Config, _folder_name: str) -> None:
    """Levels are from 1; with `preserve_ordering` there is one, and nothing is delayed.

    Source: core, src/model_config_utils.cc:1516.
    """
    batching = config.get("dynamic_batching", {})
    levels, name = int(batching.get("priority_levels", 0)), config["name"]
    policies = batching.get("priority_queue_policy", {})
    if levels:
        if not 1 <= int(batching["default_priority_level"]) <= levels:
            raise Refused(
                f"default priority level must be in range [1, {levels}] for {name}",
                "set default_priority_level",
                ("dynamic_batching", 0, "default_priority_level"),
            )
        if any(not 1 <= int(level) <= levels for level in policies):
            raise Refused(
                f"priority queue policy must have priority level in range [1, {levels}] for {name}",
                "a policy for each level that there is",
                ("dynamic_batching", 0, "priority_queue_policy"),
            )
    if batching.get("preserve_ordering"):
        if levels > 1:
            raise Refused(
                f"Only one priority level is allowed when 'preserve_ordering' is true for {name}",
                "leave preserve_ordering out",
                ("dynamic_batching", 0, "preserve_ordering"),
            )
        for policy in (batching.get("default_queue_policy"), *policies.values()):
            if policy and int(policy["default_timeout_microseconds"]) and policy["timeout_action"] == DELAY:
                raise Refused(
                    f"Queue policy can not have DELAY as timeout action when 'preserve_ordering' is true for {name}",
                    "timeout_action: REJECT",
                    ("dynamic_batching", 0, "default_queue_policy"),
                )


def response_cache_is_possible(config: Config, _folder_name: str) -> None:
    """Neither with sequences nor with decoupled answers.

    Source: core, src/model_config_utils.cc:1575.
    """
    if not config.get("response_cache", {}).get("enable"):
        return
    for there, what in (
        ("sequence_batching" in config, "sequence batching scheduler"),
        (config.get("model_transaction_policy", {}).get("decoupled"), "'decoupled' transaction policy"),
    ):
        if there:
            raise Refused(
                f"Response Cache does not currently support model {config['name']} with {what}. Please disable the "
                "response cache.",
                "response_cache { enable: false }",
                ("response_cache",),
            )


def name_is_the_folders(config: Config, folder_name: str) -> None:
    """A model is asked for by its folder's name.

    Source: core, src/model_repository_manager/model_repository_manager.cc:1701.
    """
    if config["name"] != folder_name:
        raise Refused(
            f"unexpected directory name '{folder_name}' for model '{config['name']}', directory name must equal model "
            "name",
            "leave name out, or write the folder's",
            ("name",),
        )


RULES = (
    repository_agents,
    backend_is_said,
    platform_is_the_backends,
    batch_is_no_negative,
    preferred_sizes_fit,
    priorities,
    response_cache_is_possible,
    name_is_the_folders,
)
