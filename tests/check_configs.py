"""Configs for the tests of `check`, and findings by level."""

from helpers import SMALL_CONFIG

TENSORRT = """
optimization { execution_accelerators { gpu_execution_accelerator {
  name: "tensorrt"
  parameters { key: "precision_mode" value: "FP16" }
  parameters { key: "trt_profile_min_shapes" value: "input:1x3x224x224" }
  parameters { key: "trt_profile_opt_shapes" value: "input:8x3x224x224" }
  parameters { key: "trt_profile_max_shapes" value: "input:8x3x224x224" }
} } }
"""
CONFIG = SMALL_CONFIG + TENSORRT
NO_PROFILE = SMALL_CONFIG + "".join(line for line in TENSORRT.splitlines(keepends=True) if "profile" not in line)


def errors(findings):
    """Return the findings that are errors."""
    return [finding for finding in findings if finding.level == "error"]
