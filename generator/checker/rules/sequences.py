"""Core's rules for the sequence batcher.

Source: core, `ValidateModelConfig` and `GetBooleanSequenceControlProperties` (src/model_config_utils.cc).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from generator.checker.rules.outcomes import Place

    Config = Mapping[str, Any]

AT: Place = ("sequence_batching", 0)
BOOLEAN = ("CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_READY")
VALUES = ("int32_false_true", "fp32_false_true", "bool_false_true")
EITHER = "either 'int32_false_true', 'fp32_false_true' or 'bool_false_true'"
CORRELATION_ID = "CONTROL_SEQUENCE_CORRID"
ID_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def controls_are_whole(config: Config, _folder_name: str) -> None:
    """One tensor a control, with a name and the values that it needs.

    Source: core, src/model_config_utils.cc, ValidateModelConfig.
    """
    name = config["name"]
    for kind in (*BOOLEAN, CORRELATION_ID):
        found = list(controls(config, kind))
        for tensor, _ in found:
            if not tensor:
                raise Refused(f"sequence batching control tensor must have a name for {name}", "name it", AT)
        if len(found) > 1:
            raise Refused(f"sequence batching specifies multiple {kind} tensors for {name}", "leave one", AT)
        for _, control in found:
            check_values(name, kind, control)


def controls(config: Config, kind: str) -> Iterator[tuple[str, Config]]:
    """Name and control of each tensor of that kind."""
    for tensor in config.get("sequence_batching", {}).get("control_input", []):
        for control in tensor["control"]:
            if control["kind"] == kind:
                yield tensor["name"], control


def check_values(name: str, kind: str, control: Config) -> None:
    """The values of false and true, of one type; the correlation ID has a type and no values.

    Source: core, src/model_config_utils.cc, GetBooleanSequenceControlProperties.
    """
    given = [values for values in VALUES if control[values]]
    if kind == CORRELATION_ID:
        if given:
            raise Refused(f"sequence batching must not specify {EITHER} for {kind} for {name}", "leave them out", AT)
        if control["data_type"] not in ID_TYPES:
            raise Refused(
                f"unexpected data type for control {kind} for {name}. Allowed data types are TYPE_UINT64, TYPE_INT64, "
                "TYPE_UINT32, TYPE_INT32 and TYPE_STRING",
                "data_type: TYPE_UINT64",
                AT,
            )
    elif not given:
        raise Refused(
            f"sequence batching must specify {EITHER} for {kind} for {name}", "int32_false_true: [ 0, 1 ]", AT
        )
    elif len(given) > 1:
        raise Refused(
            "sequence batching specifies more than one from 'int32_false_true', 'fp32_false_true' and "
            f"'bool_false_true' for {kind} for {name}",
            "leave one",
            AT,
        )
    elif len(control[given[0]]) != len((False, True)):
        raise Refused(
            f"sequence batching control '{given[0]}' must have exactly 2 entries for {kind} for {name}",
            "false, true",
            AT,
        )


def strategy_fits(config: Config, _folder_name: str) -> None:
    """Preferred sizes as of the dynamic batcher; a utilization is a share.

    Source: core, src/model_config_utils.cc, ValidateModelConfig.
    """
    batching, name = config.get("sequence_batching", {}), config["name"]
    for size in batching.get("oldest", {}).get("preferred_batch_size", []):
        if size <= 0:
            raise Refused(f"sequence batching preferred batch size must be positive for {name}", "leave it out", AT)
        if size > config["max_batch_size"]:
            raise Refused(
                f"sequence batching preferred batch size must be <= max batch size for {name}", f"leave {size} out", AT
            )
    share = float(batching.get("direct", {}).get("minimum_slot_utilization", 0.0))
    if not 0.0 <= share <= 1.0:
        raise Refused(
            f"sequence batching minimum slot utilization must be in range (0.0, 1.0] for {name}",
            "a share, such as 0.5",
            AT,
        )


RULES = (controls_are_whole, strategy_fits)
