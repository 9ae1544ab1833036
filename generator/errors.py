"""The errors of the program.

Every error is one sentence with the offending value, and often a hint what to do. A UsageError says that the call was
wrong (exit status 2), any other TritongenError that the work failed (exit status 1).

`cli.py` prints them as `error: …` and `hint: …`. Any other exception is a bug and keeps its traceback.
"""

import difflib
import errno
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

QUOTED_CHARACTERS = 60
LONGEST_LINE = 5000


def quoted(text: str) -> str:
    """Return printable text in quotes, cut to a length that fits a sentence."""
    shown = repr(text[: QUOTED_CHARACTERS + 1])
    return shown if len(shown) <= QUOTED_CHARACTERS + 2 else f"{shown[:QUOTED_CHARACTERS]}…{shown[0]}"


def printable(text: object) -> str:
    """Return text on one line that a terminal does not interpret, cut to a readable length."""
    shown = str(text)
    if len(shown) > LONGEST_LINE:
        shown = f"{shown[:LONGEST_LINE]}…"
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class TritongenError(Exception):
    """The work failed; `str()` is the sentence, `hint` tells what to do."""

    exit_code = 1

    def __init__(self, sentence: str, hint: str | None = None) -> None:
        super().__init__(sentence)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the error without calling its constructor, whose arguments differ between the classes."""
        return Exception.__new__, (type(self), *self.args), self.__dict__


class Failure(TritongenError):
    """A failure; a subclass has the sentence, which names what failed and why, and its usual hint."""

    sentence: ClassVar[str]
    usual_hint: ClassVar[str | None]

    def __init_subclass__(cls, sentence: str, hint: str | None = None) -> None:
        """Take `class Name(Failure, sentence="{} is wrong: {}")`."""
        cls.sentence, cls.usual_hint = sentence, hint

    def __init__(self, subject: object, why: str, hint: str | None = None) -> None:
        super().__init__(self.sentence.format(printable(subject), why), hint or self.usual_hint)


class UsageError(TritongenError):
    """The call was wrong, and nothing was done."""

    exit_code = 2


class UnknownName(UsageError):
    """An unknown name; the hint has the nearest known name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = list(known)
        near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.8)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"there is no {kind} named {name!r}", hint)


class BadValue(UsageError):
    """A parameter's value that cannot be used.

    Sentences and hints write another parameter in backticks, alone or with a value: `` `jobs` ``, `` `jobs=1` ``. The
    command line shows both as its options.
    """

    def __init__(self, parameter: str, value: object, why: str, hint: str | None = None) -> None:
        self.parameter, self.value, self.why = parameter, printable(value) or "''", why
        super().__init__(f"{parameter}={self.value}: {why}", hint)


class TemplateUnusable(UsageError):
    """A template of the user that cannot be rendered, or renders an invalid file."""

    def __init__(self, name: str, folder: Path | None, why: str) -> None:
        super().__init__(f"template {name if folder is None else folder / name}: {why}")


class OnnxUnreadable(Failure, sentence="{} cannot be used: {}"):
    """A file that is not a servable ONNX model."""


class NotServable(Failure, sentence="{} cannot be served: {}"):
    """A graph that Triton's ONNX Runtime backend does not serve."""


class NetworkUnusable(Failure, sentence="{} gives no network: {}"):
    """A function or plugin that returns no torch network."""


class LabelsUnusable(
    Failure, sentence="{} cannot be used as labels: {}", hint="write one class per line, in the order of the output"
):
    """A file that does not name the classes of an output."""


class ExportFailed(Failure, sentence="{} could not be exported to ONNX: {}"):
    """A network that cannot be exported to ONNX."""


class WorkerDied(TritongenError):
    """A process that was building a model and was killed, or crashed in native code."""

    def __init__(self, name: str, status: int | None) -> None:
        ended = f"was killed by {signal.Signals(-status).name}" if status and status < 0 else f"ended with {status}"
        super().__init__(
            f"{name} was not made: its process {ended}", "memory may have run out: try `jobs=1`, or set `memory_gib`"
        )


class VerificationFailed(
    Failure,
    sentence="{} was not published: {}",
    hint="the graph that would be served does not compute what the network computes",
):
    """A model whose answers do not match the network."""


class OutputFailed(TritongenError):
    """A file or folder that cannot be written."""

    def __init__(self, path: object, error: OSError) -> None:
        hint = {
            errno.ENOSPC: "free some space or choose another disk; ten models take about 1.6 GB",
            errno.EDQUOT: "the quota of this user is used up; choose another disk",
            errno.EACCES: "choose a folder that you may write to",
            errno.EPERM: "choose a folder that you may write to",
            errno.EROFS: "choose a folder on a disk that is not mounted read-only",
            errno.ENOTDIR: "name a folder, not a file",
            errno.EEXIST: "name a folder, not a file",
        }.get(error.errno or 0)
        super().__init__(f"cannot write {path}: {(error.strerror or str(error)).lower()}", hint)


class StorageFailed(TritongenError):
    """An object or bucket in S3 that cannot be read or written."""

    def __init__(self, url: object, what: str, error: Exception, hint: str | None = None) -> None:
        why = (getattr(error, "strerror", None) or first_line(error)).rstrip(".")
        if why[1:2].islower():  # a sentence, not the name of a class
            why = why[:1].lower() + why[1:]
        super().__init__(f"{printable(url)} cannot be {what}: {why}", hint)


class RepositoryNotFound(Failure, sentence="{} is not a model repository: {}", hint="`tritongen build` makes one"):
    """A path or URL that is not a model repository."""


class ImageUnreadable(Failure, sentence="{} is not a readable image: {}"):
    """A file that Pillow cannot decode."""


class EngineMissing(
    Failure, sentence="the {} engine cannot start here: {}", hint="`tritongen doctor` lists what is missing"
):
    """An engine that this machine cannot start."""


class PortInUse(Failure, sentence="port {} is in use on {}"):
    """A port that another program listens on."""


class ServerFailed(TritongenError):
    """A server that ended; the sentence has the refused models and the reasons."""

    def __init__(self, why: str, refused: Mapping[str, str] | None = None, hint: str | None = None) -> None:
        refused = refused or {}
        if len(refused) == 1:
            why = "Triton refused " + ": ".join(*refused.items())
        elif refused:
            lines = [f"\n  {name}: {text}" for name, text in refused.items()]
            why = f"Triton refused {len(refused)} models:" + "".join(lines)
        super().__init__(why, "correct the files of the model, or build it again" if refused else hint)


class ServerUnreachable(
    Failure,
    sentence="no Triton at {}: {}",
    hint="`url` is the gRPC port (8001, not 8000 of HTTP); without `url` a server is started",
):
    """An address where no Triton answers."""


class ModelNotServed(Failure, sentence="the server at {} has no model {!r} ready"):
    """A model that is not READY on the server."""


class InferenceFailed(Failure, sentence="{} did not answer: {}"):
    """A request that the server answered with an error."""


class WrongDevice(
    Failure,
    sentence="cannot measure a {}: {}",
    hint="`gpus=cpu` measures this machine's CPU; `url` names a server that has the GPU",
):
    """A device that was requested for a measurement, but that the server does not run on."""


class AnalyzerFailed(TritongenError):
    """A perf_analyzer that cannot start."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(f"perf_analyzer cannot start: {why}", hint)


class RunUnreadable(Failure, sentence="{} is not a run of `tritongen perf`: {}", hint="remove it, or name another run"):
    """A file that is not a stored run."""


class WeightsUnusable(Failure, sentence="{} cannot be used as weights: {}"):
    """A file that does not have exactly the parameters of a network."""


class FetchFailed(Failure, sentence="{} could not be fetched: {}"):
    """A file that cannot be downloaded, or that differs from the published one."""
