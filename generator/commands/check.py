"""`tritongen check`."""

import logging
from collections.abc import Iterable
from pathlib import Path

import click

from generator.checker.findings import HEADER, PARTLY_CHECKED, Finding
from generator.commands import console
from generator.commands.click_options import (
    Command,
    choice_option,
    group,
    json_option,
    option,
    repository_argument,
)
from generator.errors import BadValue, printable
from generator.repository.s3.url import S3Url

logger = logging.getLogger(__name__)

LEVELS = ("error", "warning")


JUDGED = group(
    "Server to check for",
    option("--gpu", metavar="v100|t4|cpu", default="cpu", help="Device that the server runs on."),
    option("--triton", "release", metavar="YY.MM", show_default="24.09 for a GPU, 24.10 for the CPU",
           help="Release of Triton."),
)  # fmt: skip
FURTHER_CHECKS = group(
    "Further checks",
    option("--run", is_flag=True,
           help="Load each model in ONNX Runtime on the CPU; run its warm-up samples and a batch of up to 8."),
    option("--server", is_flag=True, help="Ask the real embedded server about each model too, and compare."),
)  # fmt: skip
OUTPUT = group(
    "Output",
    choice_option("--fail-on", choices=LEVELS, default="error", help="Lowest level that makes the exit status 1."),
    option("--github", is_flag=True, help="Print annotations that GitHub shows beside the file."),
    json_option,
)  # fmt: skip


@click.command(
    name="check",
    cls=Command,
    short_help="Check a model repository without starting Triton.",
    exclusive=(("as_json", "github"),),
)
@repository_argument
@JUDGED
@FURTHER_CHECKS
@OUTPUT
def command(
    *,
    repository: Path | S3Url,
    gpu: str,
    release: str | None,
    run: bool,
    server: bool,
    fail_on: str,
    github: bool,
    as_json: bool,
) -> int:
    """Check a repository for the errors that Triton would report, without starting Triton.

    An error is what the server refuses. A warning is about a setting that loads but misbehaves at run time. Nothing is
    executed without --run, and weights are not read. Each configs/<gpu>-*.pbtxt is checked for its GPU and the default
    image of that GPU.

    \b
    Examples:
      tritongen check
      tritongen check models --gpu v100 --triton 24.09 --run
      tritongen check s3://bucket/models
    """
    from generator.checker.repository import checked

    if server and gpu.lower() != "cpu":
        raise BadValue("server", "true", "the embedded server runs on the CPU only", "leave --gpu out")
    result = checked(repository, gpu=gpu, release=release, run=run)
    findings = result.findings
    if as_json:
        console.print_json(findings)
    elif github:
        for finding in findings:
            console.print_text(annotation(finding, repository))
    else:
        print_findings(findings)
        counts = ", ".join(counted(sum(f.level == level for f in findings), level) for level in LEVELS)
        logger.info("%s in %s: %s", counted(result.models, "model"), repository, counts)
    agrees = compare(repository, findings, run=run) if server else True
    failing = LEVELS[: LEVELS.index(fail_on) + 1]
    return 1 if not agrees or any(finding.level in failing for finding in findings) else 0


def print_findings(findings: Iterable[Finding]) -> None:
    """Print each finding with its place, its message and the way to fix it."""
    for finding in findings:
        console.print_text(f"{finding.level}: {place(finding)}")
        console.print_text(f"  {finding.message}")
        if finding.fix:
            console.print_text(f"  fix: {finding.fix}")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 error` or `2 errors`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def place(finding: Finding) -> str:
    """Return the file, line and rule of a finding: `densenet121/config.pbtxt:12 [preferred-sizes-fit]`."""
    line = f":{finding.line}" if finding.line else ""
    return f"{printable(finding.file or finding.model or 'the server')}{line} [{finding.rule}]"


def annotation(finding: Finding, repository: Path | S3Url) -> str:
    """Return a finding as a workflow command of GitHub: `::error file=…,line=…,title=…::…`."""
    properties = {"file": str(repository / finding.file), "line": finding.line, "title": finding.rule}
    listed = ",".join(f"{key}={escaped(str(value), ':,')}" for key, value in properties.items() if value)
    text = f"{finding.message} (fix: {finding.fix})" if finding.fix else finding.message
    return f"::{finding.level} {listed}::{escaped(text)}"


def escaped(text: str, also: str = "") -> str:
    """Return text for a workflow command, with special characters as %XX."""
    kept = "".join(char if char in "\r\n" else printable(char) for char in text)
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{also}" else char for char in kept)


def compare(repository: Path | S3Url, findings: Iterable[Finding], *, run: bool) -> bool:
    """Compare the findings with the verdicts of the embedded server; return False if they differ without a reason."""
    from generator.server.verdicts import server_verdicts

    by_model: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.default:
            by_model.setdefault(finding.model, []).append(finding)
    logger.info("asking the embedded server about each model; it runs what the repository contains")
    agrees = True
    for verdict in server_verdicts(repository).values():
        word = "READY" if verdict.accepted else f"refused ({verdict.stage}): {verdict.message}"
        logger.info("server: %s: %s", printable(verdict.model), printable(word))
        ours = by_model.get(verdict.model, [])
        refused = any(finding.level == "error" for finding in ours)
        if verdict.accepted == refused:
            why = not_judged(ours, verdict.message, run=run)
            agrees = agrees and why is not None
            level = logging.WARNING if why is None else logging.INFO
            why = why or "a defect of tritongen, please report it"
            logger.log(level, "check %s %s: %s", "refused" if refused else "accepted", printable(verdict.model), why)
    return agrees


def not_judged(ours: Iterable[Finding], message: str, *, run: bool) -> str | None:
    """Return why the embedded server may disagree with the check, or None if it may not."""
    rules = {finding.rule for finding in ours}
    if rules & PARTLY_CHECKED:
        return "it checks only a part of the model, and says so"
    if HEADER in rules:
        return "the embedded server's ONNX Runtime is a newer one"
    if "onnx runtime error" in message and not run:
        return "only loading the model shows that: --run"
    return None
