"""Triton's log, read for the one thing a user must know: which models were refused, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# E1124 05:33:11.212 4321 model_lifecycle.cc:642] "failed to load 'x' version 1: Invalid argument: …"
REFUSED_AT_LOAD = re.compile(r"failed to load '(?P<model>.+?)' version -?\d+: (?P<why>.+?)\"?$", re.DOTALL)
REFUSED_AT_VERSION = re.compile(r"failed to load model '(?P<model>.+?)': (?P<why>.+?)\"?$", re.DOTALL)
REFUSED_AT_POLL = re.compile(r"Poll failed for model directory '(?P<model>.+?)': (?P<why>.+?)\"?$", re.DOTALL)
RECORD = re.compile(r"^[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ (?P<place>\S+)\] ", re.MULTILINE)
# What the Python backend puts around our backend's sentences.
FROM_PYTHON = re.compile(r"^Internal: (?:TritonModelException: )?(?P<text>.*?)(?:\\n|\n)+At:(?:\\n|\n).*$", re.DOTALL)
PROTO_DETAIL = re.compile(r"Error parsing text-format inference\.ModelConfig: (?P<detail>.+)$", re.MULTILINE)


def refusals(log: str) -> dict[str, str]:
    """Each refused model with Triton's sentence, in the order of the log."""
    found: dict[str, str] = {}
    for record, details in records(log):
        for pattern in (REFUSED_AT_LOAD, REFUSED_AT_VERSION, REFUSED_AT_POLL):
            match = pattern.search(record)
            if match:
                why = plain(match["why"])
                if pattern is REFUSED_AT_POLL and details and "failed to read text proto" in why:
                    why = f"{why} ({'; '.join(details)})"
                found.setdefault(match["model"], why)
                break
    return found


def records(log: str) -> Iterator[tuple[str, list[str]]]:
    """The log's records, each with protobuf's own words before it; a record may run over several lines."""
    details: list[str] = []
    lines: list[str] = []
    told: list[str] = []
    for line in log.splitlines():
        if line.startswith("[libprotobuf "):
            detail = PROTO_DETAIL.search(line)
            details += [detail["detail"]] if detail else []
        elif RECORD.match(line):
            if lines:
                yield record_text(lines), told
            lines, told, details = [line], details, []
        elif lines:
            lines.append(line)
    if lines:
        yield record_text(lines), told


def record_text(lines: list[str]) -> str:
    """A record without its place and the quotes around it."""
    return RECORD.sub("", "\n".join(lines)).strip().removeprefix('"')


def plain(why: str) -> str:
    """The sentence without the Python backend's frame around it."""
    why = why.strip().removesuffix(";").strip()
    match = FROM_PYTHON.match(why)
    text = match["text"].strip() if match else why
    # A failed warm-up says the same of each request in its batch.
    return re.sub(r"([^;]+)(?:; \1)+$", r"\1", text.removesuffix(";"))


def last_error(log: str) -> str:
    """The last error record, or docker's word, for a server that ended without refusing a model."""
    # A host without a GPU has no NVML, which is no reason to end.
    lines = [line for line in log.splitlines() if "NVML" not in line]
    errors = [line for line in lines if line.startswith(("E", "error:", "docker:"))]
    return RECORD.sub("", errors[-1]).strip('" ') if errors else "it gave no reason"
