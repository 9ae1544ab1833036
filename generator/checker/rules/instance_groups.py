"""Core's rules for instance groups, on a server with the GPUs that it has.

Source: core, `NormalizeInstanceGroup` and `ValidateInstanceGroup` (src/model_config_utils.cc).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generator.checker.rules.outcomes import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Config = Mapping[str, Any]

NO_KIND = "leave kind and gpus out: a GPU is used if the server has one; `gpu` checks for a GPU server"
KINDS = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
# --min-supported-compute-capability where it is not given, of 24.10 and before.
MINIMUM_COMPUTE_CAPABILITY = "6.000000"


def resolved_kind(group: Config, gpus: Sequence[int]) -> str:
    """KIND_AUTO is the GPU where every one that is listed is there, else the CPU.

    Source: core, src/model_config_utils.cc:827.
    """
    if group["kind"] != "KIND_AUTO":
        return str(group["kind"])
    return "KIND_GPU" if gpus and all(gpu in gpus for gpu in group["gpus"]) else "KIND_CPU"


def groups_can_be_placed(config: Config, gpus: Sequence[int]) -> None:
    """Each group has devices that the server has.

    Source: core, src/model_config_utils.cc:1703.
    """
    if "ensemble_scheduling" in config:
        return
    for place, group in enumerate(config["instance_group"]):
        at = ("instance_group", place)
        name = group["name"] or f"{config['name']}_{place}"
        about = f"instance group {name} of model {config['name']}"
        if group["kind"] not in KINDS:  # a number that no kind has; the word is core's
            raise Refused(f"{about} has unexpected kind KIND_AUTO", "leave kind out", (*at, "kind"), "Internal")
        kind = resolved_kind(group, gpus)
        if kind == "KIND_GPU":
            if not group["gpus"] and not gpus:
                raise Refused(f"{about} has kind KIND_GPU but no GPUs are available", NO_KIND, (*at, "kind"))
            for gpu in group["gpus"]:
                if gpu not in gpus:
                    raise Refused(
                        f"{about} specifies invalid or unsupported gpu id {gpu}. GPUs with at least the minimum "
                        f"required CUDA compute compatibility of {MINIMUM_COMPUTE_CAPABILITY} are: "
                        f"{', '.join(map(str, gpus))}".rstrip(),
                        NO_KIND,
                        (*at, "gpus"),
                    )
        elif group["gpus"]:
            raise Refused(f"{about} has kind {kind} but specifies one or more GPUs", "leave gpus out", (*at, "gpus"))
        if group["profile"] and config["platform"] != "tensorrt_plan":
            raise Refused(
                f"{about} and platform {config['platform']}specifies profile field which is only supported for "
                "TensorRT models",
                "profiles of ONNX Runtime's TensorRT are the accelerator's trt_profile_* parameters",
                (*at, "profile"),
            )
