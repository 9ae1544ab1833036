"""Runs on disk: an append-only file of JSON lines, first the run, then one line per round of a point.

Each line is written by one call and is valid only with its line end, so a kill at any byte leaves at most one invalid
line, which the next writer removes.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import cattrs

from generator.errors import OutputFailed, RunUnreadable, TritongenError, UnknownName, UsageError
from generator.system.files import locked, write_whole
from perf.runs import points
from perf.runs.types import Origin, PerfPoint, Repeat, Run, Session

KINDS: dict[str, type[Run | Repeat | Session]] = {"run": Run, "round": Repeat, "session": Session}
CONVERTER = cattrs.Converter(forbid_extra_keys=True)
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Stored:
    """The content of a run's file."""

    path: Path
    run: Run
    repeats: tuple[Repeat, ...] = ()
    sessions: tuple[Session, ...] = ()

    @property
    def results(self) -> tuple[points.Result, ...]:
        """The result of each point."""
        return points.results(self.run.points, self.repeats, self.run.plan)

    @property
    def due(self) -> tuple[PerfPoint, ...]:
        """The points that need more rounds; empty if the run is complete."""
        return tuple(result.point for result in self.results if not points.finished(result, self.run.plan))

    @property
    def origins(self) -> list[Origin]:
        """The origins of the rounds, the first round first."""
        return [repeat.origin for repeat in self.repeats if repeat.origin]

    @property
    def triton(self) -> str:
        """The version of Triton."""
        return self.origins[0].versions.triton if self.origins else "?"

    @property
    def image_tag(self) -> str | None:
        """The tag of the image of Triton, if it ran in a container that tritongen started."""
        return next((origin.image_tag for origin in self.origins if origin.image_tag), None)

    def extended(self, *entries: Repeat | Session) -> Stored:
        """Return the content with more lines."""
        repeats = tuple(entry for entry in entries if isinstance(entry, Repeat))
        sessions = tuple(entry for entry in entries if isinstance(entry, Session))
        return replace(self, repeats=self.repeats + repeats, sessions=self.sessions + sessions)


def begin(root: Path, run: Run) -> Stored:
    """Write the file of a new run with its first line, atomically, or raise OutputFailed."""
    names = (f"{run.id}-{number}" if number > 1 else run.id for number in count(1))
    files = (root / run.device.name / f"{name}{SUFFIX}" for name in names)
    path = next(path for path in files if not path.exists())
    run = replace(run, id=path.stem)
    write_whole(path, line("run", run))
    return Stored(path, run)


def check_writable(root: Path) -> None:
    """Raise OutputFailed if nothing can be written in a folder, which need not exist yet."""
    existing = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):  # access() allows root everything, and a full disk
            pass
    except OSError as error:
        raise OutputFailed(root, error) from error


def line(kind: str, entry: Run | Repeat | Session) -> str:
    """Return a line of the file with its line end."""
    return json.dumps({"kind": kind, **lean(CONVERTER.unstructure(entry))}, ensure_ascii=False) + "\n"


def lean(record: Any) -> Any:  # noqa: ANN401 (JSON)
    """Return JSON without null members, which are not stored."""
    if isinstance(record, dict):
        return {key: lean(value) for key, value in record.items() if value is not None}
    return [lean(value) for value in record] if isinstance(record, list | tuple) else record


@dataclass
class Writer:
    """The only way to add lines to a run."""

    stored: Stored
    descriptor: int

    def add(self, entry: Repeat | Session) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            OutputFailed: the line cannot be written; the earlier lines stay.
        """
        kind = "round" if isinstance(entry, Repeat) else "session"
        try:
            text = line(kind, entry).encode()
            if os.write(self.descriptor, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 (the disk is full)
            os.fsync(self.descriptor)
        except OSError as error:
            raise OutputFailed(self.stored.path, error) from error
        self.stored = self.stored.extended(entry)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Lock the file of a run and yield its writer.

    Raises:
        TritongenError: another process has locked it.
        RunUnreadable: the file is not a run.
        OutputFailed: the file cannot be written.
    """
    busy = TritongenError(f"{path} is being measured by another tritongen", "wait until it ends")
    with ExitStack() as opened:
        try:
            opened.enter_context(locked(path.with_name(f".{path.name}.lock"), busy))
            file = opened.enter_context(path.open("r+b", buffering=0))
            whole = path.read_bytes().rpartition(b"\n")
            file.truncate(file.seek(len(whole[0]) + len(whole[1])))
        except OSError as error:
            raise OutputFailed(path, error) from error
        yield Writer(read(path), file.fileno())


def read(path: Path) -> Stored:
    """Read a run, ignoring a last line without its line end.

    Raises:
        RunUnreadable: there is no such file, or it is not a run.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not UTF-8"
        raise RunUnreadable(path, why) from error
    entries = [entry(path, number, row) for number, row in enumerate(text.split("\n")[:-1], 1)]
    if not entries or not isinstance(entries[0], Run):
        raise RunUnreadable(path, "its first line is not a run")
    stored = Stored(path, entries[0])
    known = set(stored.run.points)
    for number, found in enumerate(entries[1:], 2):
        if isinstance(found, Run):
            raise RunUnreadable(path, f"line {number} starts a second run")
        if isinstance(found, Repeat) and found.point not in known:
            raise RunUnreadable(path, f"line {number} measures {found.point}, which is not a point of the run")
    return stored.extended(*(found for found in entries if not isinstance(found, Run)))


def entry(path: Path, number: int, text: str) -> Run | Repeat | Session:
    """Parse a line, or raise RunUnreadable if tritongen does not write such a line."""
    try:
        record: dict[str, Any] = json.loads(text)
        kind = KINDS[record.pop("kind")]
        return CONVERTER.structure(record, kind)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, cattrs.BaseValidationError) as error:
        raise RunUnreadable(path, f"line {number} was not written by tritongen") from error


def paths(root: Path, device: str | None = None) -> tuple[Path, ...]:
    """Return the files of the runs on a device, or on any, newest first."""
    files = root.glob(f"{device or '*'}/*{SUFFIX}")
    return tuple(sorted(files, key=lambda path: (path.stem, path.parent.name), reverse=True))


def find(root: Path, name: str) -> Path:
    """Return the file of a run, given as a path, a name or `last`.

    Raises:
        UnknownName: no run has that name.
        UsageError: there are no runs.
    """
    files = paths(root)
    if name == "last" and files:
        return files[0]
    for path in files:
        if name in (path.stem, f"{path.parent.name}/{path.stem}"):
            return path
    if Path(name).is_file():
        return Path(name)
    if not files and name == "last":
        raise UsageError(f"there is no run in {root} yet", "`tritongen perf` measures and stores a run")
    raise UnknownName(f"run in {root}", name, ("published", "last", *(path.stem for path in files)))
