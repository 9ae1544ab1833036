"""A run on disk: JSON lines that are only ever added to, the first what is measured, then a line a round of a point.

A line is written by one call and counts with its line end, so that a kill at any byte leaves at most a line that does
not count; whoever goes on with the run removes it.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cattrs

from generator.errors import OutputFailed, RunUnreadable, TritongenError, UnknownName, UsageError
from generator.system.files import locked, write_whole
from perf.runs import points
from perf.runs.types import Repeat, Run, Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perf.runs.types import PerfPoint

KINDS: dict[str, type[Run | Repeat | Session]] = {"run": Run, "round": Repeat, "session": Session}
CONVERTER = cattrs.Converter(forbid_extra_keys=True)
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Stored:
    """A run as its file has it."""

    path: Path
    run: Run
    repeats: tuple[Repeat, ...] = ()
    sessions: tuple[Session, ...] = ()

    @property
    def results(self) -> tuple[points.Result, ...]:
        """What each point's rounds come to."""
        return points.results(self.run.points, self.repeats, self.run.plan)

    @property
    def due(self) -> tuple[PerfPoint, ...]:
        """The points that need more rounds; none when the run is complete."""
        return tuple(found.point for found in self.results if not points.finished(found, self.run.plan))

    def next_round(self, point: PerfPoint) -> int:
        """The number of the point's next."""
        return 1 + sum(repeat.point == point for repeat in self.repeats)

    def and_(self, *entries: Repeat | Session) -> Stored:
        """With more lines."""
        repeats = tuple(entry for entry in entries if isinstance(entry, Repeat))
        sessions = tuple(entry for entry in entries if isinstance(entry, Session))
        return replace(self, repeats=self.repeats + repeats, sessions=self.sessions + sessions)


def begin(root: Path, run: Run) -> Stored:
    """A new run's file with its first line, which appears whole.

    Raises:
        OutputFailed: it cannot be written.
    """
    folder = root / run.device.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(folder, error) from error
    name, number = run.id, 1
    while (folder / f"{name}{SUFFIX}").exists():
        number += 1
        name = f"{run.id}-{number}"
    run = replace(run, id=name)
    path = folder / f"{name}{SUFFIX}"
    write_whole(path, line("run", run))
    return Stored(path, run)


def check_writable(root: Path) -> None:
    """Raise OutputFailed where runs cannot be kept: said before anything is measured."""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise OutputFailed(root, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    try:
        with tempfile.TemporaryFile(dir=there):  # access() does not speak for root, nor for a full disk
            pass
    except OSError as error:
        raise OutputFailed(root, error) from error


def new_id() -> str:
    """A run's name: when it began."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def line(kind: str, entry: Run | Repeat | Session) -> str:
    """A line of the file, its end included."""
    return json.dumps({"kind": kind, **lean(CONVERTER.unstructure(entry))}, ensure_ascii=False) + "\n"


def lean(record: Any) -> Any:  # noqa: ANN401 (JSON)
    """Without what is null: a column that is not there is not written."""
    if isinstance(record, dict):
        return {key: lean(value) for key, value in record.items() if value is not None}
    return [lean(value) for value in record] if isinstance(record, list | tuple) else record


class Writer:
    """The one place that adds to a run."""

    def __init__(self, stored: Stored, descriptor: int) -> None:
        self.stored = stored
        self._descriptor = descriptor

    def add(self, entry: Repeat | Session) -> None:
        """One more line, on the disk when this returns.

        Raises:
            OutputFailed: it cannot be written; what was written before stays.
        """
        kind = "round" if isinstance(entry, Repeat) else "session"
        try:
            text = line(kind, entry).encode()
            if os.write(self._descriptor, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 (a disk that is full)
            os.fsync(self._descriptor)
        except OSError as error:
            raise OutputFailed(self.stored.path, error) from error
        self.stored = self.stored.and_(entry)


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """A run's file, for this process alone to add to.

    Raises:
        TritongenError: another process adds to it.
        RunUnreadable: it is no run.
        OutputFailed: it cannot be written.
    """
    busy = TritongenError(f"{path} is being measured by another tritongen", "wait for its end")
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
    """A run from its file; a last line without its end does not count.

    Raises:
        RunUnreadable: there is no such file, or it is no run.
    """
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not UTF-8"
        raise RunUnreadable(path, why) from error
    entries = [entry(path, number, row) for number, row in enumerate(text.split("\n")[:-1], 1)]
    if not entries or not isinstance(entries[0], Run):
        raise RunUnreadable(path, "its first line says no run")
    stored = Stored(path, entries[0])
    known = set(stored.run.points)
    for number, found in enumerate(entries[1:], 2):
        if isinstance(found, Run):
            raise RunUnreadable(path, f"line {number} begins another run")
        if isinstance(found, Repeat) and found.point not in known:
            raise RunUnreadable(path, f"line {number} is of {found.point}, which the run does not measure")
    return stored.and_(*(found for found in entries if not isinstance(found, Run)))


def entry(path: Path, number: int, text: str) -> Run | Repeat | Session:
    """One line.

    Raises:
        RunUnreadable: it is none of ours.
    """
    try:
        record: Mapping[str, Any] = json.loads(text)
        kind = KINDS[record["kind"]]
        found: Run | Repeat | Session = CONVERTER.structure(
            {key: value for key, value in record.items() if key != "kind"}, kind
        )
    except (ValueError, TypeError, KeyError, RecursionError, cattrs.BaseValidationError) as error:
        raise RunUnreadable(path, f"line {number} is not one that tritongen writes") from error
    return found


def paths(root: Path, device: str | None = None) -> tuple[Path, ...]:
    """The runs of a device, or of all, the newest first."""
    found = root.glob(f"{device or '*'}/*{SUFFIX}")
    return tuple(sorted(found, key=lambda path: (path.stem, path.parent.name), reverse=True))


def find(root: Path, name: str) -> Path:
    """The run that a path, a name or `last` stands for.

    Raises:
        UnknownName: there is none of that name.
        UsageError: there is none at all.
    """
    there = paths(root)
    if name == "last" and there:
        return there[0]
    for path in there:
        if name in (path.stem, f"{path.parent.name}/{path.stem}"):
            return path
    if Path(name).is_file():
        return Path(name)
    if not there and name == "last":
        raise UsageError(f"there is no run in {root} yet", "`tritongen perf` measures, and keeps each run there")
    raise UnknownName(f"run in {root}", name, ("published", "last", *(path.stem for path in there)))
