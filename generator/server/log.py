"""The refused models and the last error in Triton's log."""

import re

# E1124 05:33:11.212 4321 model_lifecycle.cc:642] "failed to load 'x' version 1: Invalid argument: …"
REFUSED_AT_POLL = re.compile(r"Poll failed for model directory '(?P<model>.+?)': (?P<reason>.+?)\"?$", re.DOTALL)
REFUSED = (
    re.compile(r"failed to load '(?P<model>.+?)' version -?\d+: (?P<reason>.+?)\"?$", re.DOTALL),
    re.compile(r"failed to load model '(?P<model>.+?)': (?P<reason>.+?)\"?$", re.DOTALL),
    REFUSED_AT_POLL,
)
RECORD = re.compile(r"^[EWIF]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ \S+\] ", re.MULTILINE)
# The Python backend wraps the messages of our backend.
FROM_PYTHON = re.compile(r"^Internal: (?:TritonModelException: )?(?P<text>.*?)(?:\\n|\n)+At:(?:\\n|\n).*$", re.DOTALL)
PROTO_DETAIL = re.compile(
    r"^\[libprotobuf .*Error parsing text-format inference\.ModelConfig: (?P<detail>.+)$", re.MULTILINE
)


def refusals(log: str) -> dict[str, str]:
    """Return the refused models in the order of the log, each with Triton's reason."""
    reasons: dict[str, str] = {}
    start, *records = RECORD.split(log)
    details = PROTO_DETAIL.findall(start)
    for record in records:  # a record may have several lines; the messages of protobuf precede their record
        lines = [line for line in record.splitlines() if not line.startswith("[libprotobuf ")]
        text = "\n".join(lines).strip().removeprefix('"')
        if match := next(filter(None, (pattern.search(text) for pattern in REFUSED)), None):
            reason = unwrapped(match["reason"])
            if match.re is REFUSED_AT_POLL and details and "failed to read text proto" in reason:
                reason = f"{reason} ({'; '.join(details)})"
            reasons.setdefault(match["model"], reason)
        details = PROTO_DETAIL.findall(record)
    return reasons


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
