"""The errors of the program.

Every error is one sentence with the offending value, and often a hint what to do:

- TritongenError             the work failed (exit status 1)
  - UsageError               the call was wrong (exit status 2)
    - UnknownName
    - BadValue
    - TemplateUnusable
  - OnnxUnreadable
  - NotServable
  - NetworkUnusable
  - LabelsUnusable
  - ExportFailed
  - WorkerDied
  - VerificationFailed
  - OutputFailed
  - StorageFailed
  - RepositoryNotFound
  - ImageUnreadable
  - EngineMissing
  - PortInUse
  - ServerFailed
  - ServerUnreachable
  - ModelNotServed
  - InferenceFailed
  - WrongDevice
  - AnalyzerFailed
  - RunUnreadable
  - WeightsUnusable
  - FetchFailed

`cli.py` prints them as `error: …` and `hint: …`. Any other exception is a bug and keeps its traceback.
"""

import difflib
import errno
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
        return restored, (type(self), self.args, self.__dict__)


def restored(kind: type[TritongenError], args: tuple[object, ...], state: dict[str, object]) -> TritongenError:
    """Unpickle an error that another process raised."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


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


class OnnxUnreadable(TritongenError):
    """A file that is not a servable ONNX model."""

    def __init__(self, path: Path, why: str, hint: str | None = None) -> None:
        super().__init__(f"{path} cannot be used: {why}", hint)


class NotServable(TritongenError):
    """A graph that Triton's ONNX Runtime backend does not serve."""

    def __init__(self, name: str, why: str, hint: str | None = None) -> None:
        super().__init__(f"{name} cannot be served: {why}", hint)


class NetworkUnusable(TritongenError):
    """A function or plugin that returns no torch network."""

    def __init__(self, target: str, why: str, hint: str | None = None) -> None:
        super().__init__(f"{target} gives no network: {why}", hint)


class LabelsUnusable(TritongenError):
    """A file that does not name the classes of an output."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path} cannot be used as labels: {why}", "write one class per line, in the order of the output"
        )


class ExportFailed(TritongenError):
    """A network that cannot be exported to ONNX."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} could not be exported to ONNX: {why}")


class WorkerDied(TritongenError):
    """A process that was building a model and was killed, or crashed in native code."""

    def __init__(self, name: str, status: int | None) -> None:
        ended = f"was killed by {signal.Signals(-status).name}" if status and status < 0 else f"ended with {status}"
        super().__init__(
            f"{name} was not made: its process {ended}", "memory may have run out: try `jobs=1`, or set `memory_gib`"
        )


class VerificationFailed(TritongenError):
    """A model whose answers do not match the network."""

    def __init__(self, name: str, what: str, hint: str | None = None) -> None:
        super().__init__(
            f"{name} was not published: {what}",
            hint or "the graph that would be served does not compute what the network computes",
        )


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


class RepositoryNotFound(TritongenError):
    """A path or URL that is not a model repository."""

    def __init__(self, path: object, why: str = "there is no such folder", hint: str | None = None) -> None:
        super().__init__(f"{path} is not a model repository: {why}", hint or "`tritongen build` makes one")


class ImageUnreadable(TritongenError):
    """A file that Pillow cannot decode."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is not a readable image: {why}")


class EngineMissing(TritongenError):
    """An engine that this machine cannot start."""

    def __init__(self, engine: str, why: str, hint: str | None = None) -> None:
        super().__init__(
            f"the {engine} engine cannot start here: {why}",
            hint or "`tritongen doctor` lists what is missing",
        )


class PortInUse(TritongenError):
    """A port that another program listens on."""

    def __init__(self, port: int, parameter: str, host: str = "127.0.0.1") -> None:
        super().__init__(
            f"port {port} is in use on {host}",
            f"stop the program that listens there, or choose another port with `{parameter}`",
        )


class ServerFailed(TritongenError):
    """A server that ended; the sentence has the refused models and the reasons."""

    def __init__(self, why: str, refused: Mapping[str, str] | None = None) -> None:
        refused = refused or {}
        if len(refused) == 1:
            why = "Triton refused " + ": ".join(*refused.items())
        elif refused:
            lines = [f"\n  {name}: {text}" for name, text in refused.items()]
            why = f"Triton refused {len(refused)} models:" + "".join(lines)
        super().__init__(why, "correct the files of the model, or build it again" if refused else None)


class ServerUnreachable(TritongenError):
    """An address where no Triton answers."""

    def __init__(
        self,
        url: str,
        why: str = "nothing there answers Triton's gRPC",
        hint: str = "`url` is the gRPC port (8001, not 8000 of HTTP); without `url` a server is started",
    ) -> None:
        super().__init__(f"no Triton at {url}: {why}", hint)


class ModelNotServed(TritongenError):
    """A model that is not READY on the server."""

    def __init__(self, name: str, url: str, ready: Iterable[str]) -> None:
        listed = ", ".join(ready) or "none"
        super().__init__(f"the server at {url} has no model {name!r} ready", f"ready models: {listed}")


class InferenceFailed(TritongenError):
    """A request that the server answered with an error."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} did not answer: {why}")


class WrongDevice(TritongenError):
    """A device that was requested for a measurement, but that the server does not run on."""

    def __init__(self, requested: str, actual: str) -> None:
        super().__init__(
            f"cannot measure a {requested.upper()}: {actual}",
            "`gpus=cpu` measures this machine's CPU; `url` names a server that has the GPU",
        )


class AnalyzerFailed(TritongenError):
    """A perf_analyzer that cannot start."""

    def __init__(self, why: str, hint: str | None = None) -> None:
        super().__init__(f"perf_analyzer cannot start: {why}", hint)


class RunUnreadable(TritongenError):
    """A file that is not a stored run."""

    def __init__(self, path: Path, why: str) -> None:
        hint = "remove it, or name another run"
        super().__init__(f"{printable(path)} is not a run of `tritongen perf`: {why}", hint)


class WeightsUnusable(TritongenError):
    """A file that does not have exactly the parameters of a network."""

    def __init__(self, path: Path, why: str, hint: str | None = None) -> None:
        super().__init__(f"{printable(path)} cannot be used as weights: {why}", hint)


class FetchFailed(TritongenError):
    """A file that cannot be downloaded, or that differs from the published one."""

    def __init__(self, what: str, why: str, hint: str | None = None) -> None:
        super().__init__(f"{what} could not be fetched: {why}", hint)
