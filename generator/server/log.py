"""The refused models and the last error in Triton's log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# E1124 05:33:11.212 4321 model_lifecycle.cc:642] "failed to load 'x' version 1: Invalid argument: …"
REFUSED_AT_LOAD = re.compile(r"failed to load '(?P<model>.+?)' version -?\d+: (?P<reason>.+?)\"?$", re.DOTALL)
REFUSED_AT_VERSION = re.compile(r"failed to load model '(?P<model>.+?)': (?P<reason>.+?)\"?$", re.DOTALL)
REFUSED_AT_POLL = re.compile(r"Poll failed for model directory '(?P<model>.+?)': (?P<reason>.+?)\"?$", re.DOTALL)
RECORD = re.compile(r"^[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ (?P<place>\S+)\] ", re.MULTILINE)
# The Python backend wraps the messages of our backend.
FROM_PYTHON = re.compile(r"^Internal: (?:TritonModelException: )?(?P<text>.*?)(?:\\n|\n)+At:(?:\\n|\n).*$", re.DOTALL)
PROTO_DETAIL = re.compile(r"Error parsing text-format inference\.ModelConfig: (?P<detail>.+)$", re.MULTILINE)


def refusals(log: str) -> dict[str, str]:
    """Return the refused models in the order of the log, each with Triton's reason."""
    reasons: dict[str, str] = {}
    for record, details in records(log):
        for pattern in (REFUSED_AT_LOAD, REFUSED_AT_VERSION, REFUSED_AT_POLL):
            if match := pattern.search(record):
                reason = unwrapped(match["reason"])
                if pattern is REFUSED_AT_POLL and details and "failed to read text proto" in reason:
                    reason = f"{reason} ({'; '.join(details)})"
                reasons.setdefault(match["model"], reason)
                break
    return reasons


def records(log: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the text of each record, which may have several lines, with the messages of protobuf before it."""
    details: list[str] = []
    lines: list[str] = []
    of_record: list[str] = []
    for line in [*log.splitlines(), None]:
        if line is not None and line.startswith("[libprotobuf "):
            detail = PROTO_DETAIL.search(line)
            details += [detail["detail"]] if detail else []
        elif line is None or RECORD.match(line):
            if lines:
                yield RECORD.sub("", "\n".join(lines)).strip().removeprefix('"'), of_record
            lines, of_record, details = [line or ""], details, []
        elif lines:
            lines.append(line)


def unwrapped(reason: str) -> str:
    """Return a reason without the text that the Python backend puts around it."""
    reason = reason.strip().removesuffix(";").strip()
    match = FROM_PYTHON.match(reason)
    text = match["text"].strip() if match else reason
    # A failed warm-up repeats its error for each request of the batch.
    return re.sub(r"([^;]+)(?:; \1)+$", r"\1", text.removesuffix(";"))


def last_error(log: str) -> str:
    """Return the last error of Triton or docker."""
    # A host without a GPU has no NVML, which does not end the server.
    lines = [line for line in log.splitlines() if "NVML" not in line]
    errors = [line for line in lines if line.startswith(("E", "error:", "docker:"))]
    return RECORD.sub("", errors[-1]).strip('" ') if errors else "it gave no reason"
