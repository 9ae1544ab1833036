"""Triton's log, read for the one thing a user must know: which models were refused, and why."""

from __future__ import annotations

import re
from itertools import pairwise

# E1124 05:33:11.212 4321 model_lifecycle.cc:642] "failed to load 'x' version 1: Invalid argument: …"
REFUSED_AT_LOAD = re.compile(r"failed to load '(?P<model>.+?)' version -?\d+: (?P<why>.+?)\"?$", re.DOTALL)
REFUSED_AT_VERSION = re.compile(r"failed to load model '(?P<model>.+?)': (?P<why>.+?)\"?$", re.DOTALL)
REFUSED_AT_POLL = re.compile(r"Poll failed for model directory '(?P<model>.+?)': (?P<why>.+?)\"?$", re.DOTALL)
RECORD = re.compile(r"^[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ (?P<place>\S+)\] ", re.MULTILINE)
# What the Python backend puts around our backend's sentences.
FROM_PYTHON = re.compile(r"^Internal: (?:TritonModelException: )?(?P<text>.*?)(?:\\n|\n)+At:(?:\\n|\n).*$", re.DOTALL)
PROTOBUF = re.compile(r"^\[libprotobuf .*\n?", re.MULTILINE)
PROTO_DETAIL = re.compile(r"Error parsing text-format inference\.ModelConfig: (?P<detail>.+)$", re.MULTILINE)


def refusals(log: str) -> dict[str, str]:
    """Each refused model with Triton's sentence, in the order of the log."""
    found: dict[str, str] = {}
    details = iter(PROTO_DETAIL.findall(log))
    for record in records(log):
        for pattern in (REFUSED_AT_LOAD, REFUSED_AT_VERSION, REFUSED_AT_POLL):
            match = pattern.search(record)
            if match:
                why = plain(match["why"])
                if pattern is REFUSED_AT_POLL and "failed to read text proto" in why:
                    why = f"{why} ({next(details, 'no detail given')})"
                found.setdefault(match["model"], why)
                break
    return found


def records(log: str) -> list[str]:
    """The log's records; one may run over several lines, and protobuf's own word on a text is none of it."""
    log = PROTOBUF.sub("", log)
    starts = [match.start() for match in RECORD.finditer(log)] + [len(log)]
    return [RECORD.sub("", log[start:end]).strip().removeprefix('"') for start, end in pairwise(starts)]


def plain(why: str) -> str:
    """The sentence without the Python backend's frame around it."""
    why = why.strip().removesuffix(";").strip()
    match = FROM_PYTHON.match(why)
    text = match["text"].strip() if match else why
    # A failed warm-up says the same of each request in its batch.
    return re.sub(r"([^;]+)(?:; \1)+$", r"\1", text.removesuffix(";"))


def last_error(log: str) -> str:
    """The last error record, or docker's word, for a server that ended without refusing a model."""
    errors = [line for line in log.splitlines() if line.startswith(("E", "error:", "docker:"))]
    return RECORD.sub("", errors[-1]).strip('" ') if errors else "it gave no reason"
