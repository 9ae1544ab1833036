"""A real Triton's verdict on each model of a repository: it is started without any, and asked to load each."""

from __future__ import annotations

import json
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import tritonclient.grpc as triton

from generator.server.embedded import SHARED_MEMORY, check_repository, command
from generator.server.lifecycle import running
from generator.server.log import PROTO_DETAIL, plain
from generator.server.ports import free_ports
from generator.server.runtime import runtime
from generator.server.served_configs import served_configs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from generator.server.lifecycle import Server

# Core's own number of loading threads. A load mostly waits for its stub: 1.5 s alone, 0.44 s a model by fours.
LOADS_AT_ONCE = 4
# A stub that crashes leaves its load waiting for ever.
PATIENCE_S = 120.0
DEATH_S = 5.0

# The Python backend starts its stub with `bash -c "exec STUB MODEL …"`, nothing quoted: a folder's name would be read
# as shell. Bash sources BASH_ENV first, where the words are put together again.
QUOTING = r"""
words="^ exec (/[^ ]*/triton_python_backend_stub) (.*) (REGION[^ ]*) ([0-9]+) ([0-9]+) ([0-9]+) (/.*) ([0-9]+) (.*) (/.*)$"
[[ $BASH_EXECUTION_STRING =~ $words ]] && exec "${BASH_REMATCH[@]:1}"
"""

NOT_POLLED = "failed to load '{}', failed to poll from model repository"
NOT_LOADED = "load failed for model '{}': "
NO_VERSION = "at least one version must be available under the version policy"
OF_A_VERSION = re.compile(r"(?:^|;)version -?\d+ is at UNAVAILABLE state: ")
# A record's text is a JSON string: quotes and line breaks of a name are escaped in it.
POLL_RECORD = re.compile(r'^E\d{4} .*?\] (?P<text>"(?:Poll failed for|failed to poll) model .*")$')
POLL_OPENINGS = ("Poll failed for model directory '{}': ", "failed to poll model '{}': ")
LAST_WORDS = re.compile(r"terminate called .+(?:\n +what\(\): .+)?|Signal \(\d+\) received\.")


@dataclass(frozen=True)
class Verdict:
    """What the server said to one model.

    Attributes:
        model: its name.
        accepted: whether it became READY.
        stage: `ready`, or where it was refused: `poll`, `version`, `load`; `abort` where the server died of it.
        message: the server's own sentence; empty where it was accepted.
        detail: of a config that is no text format, where and why, as `line:column: what`.
    """

    model: str
    accepted: bool
    stage: str
    message: str
    detail: str = ""


class Asker:
    """One server's life; several threads may ask it."""

    def __init__(self, server: Server, patience_s: float) -> None:
        self._server = server
        self._patience_s = patience_s
        self._client = triton.InferenceServerClient(server.grpc_url)
        self._dead = Event()

    def ask(self, name: str) -> Verdict | None:
        """Load a model and unload it; None where the server had died of another before."""
        if self._dead.is_set():
            return None
        try:
            self._client.load_model(name, client_timeout=self._patience_s)
        except UnicodeEncodeError:
            return Verdict(
                name, accepted=False, stage="poll", message="the name is not UTF-8: no client can ask for it"
            )
        except triton.InferenceServerException as error:
            if self._died(error.status()):
                return Verdict(name, accepted=False, stage="abort", message="")
            return refused(name, error.message())
        finally:
            # An ensemble that was refused has loaded its steps all the same.
            with suppress(triton.InferenceServerException, UnicodeEncodeError):
                self._client.unload_model(name, unload_dependents=True, client_timeout=DEATH_S)
        return Verdict(name, accepted=True, stage="ready", message="")

    def _died(self, status: str) -> bool:
        """Whether the server ended, or will not answer any more."""
        ended = status == "StatusCode.UNAVAILABLE" and self._server.child.wait(DEATH_S) is not None
        if ended or status == "StatusCode.DEADLINE_EXCEEDED":
            self._dead.set()
        return self._dead.is_set()

    def with_log(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """The verdicts with what is only in the log."""
        text = self._server.log.text()
        polled = poll_refusals(text, [verdict.model for verdict in verdicts if verdict.stage == "poll"])
        return [
            replace(verdict, message=self._last_words(text))
            if verdict.stage == "abort"
            else polled.get(verdict.model, verdict)
            for verdict in verdicts
        ]

    def _last_words(self, text: str) -> str:
        """Why there was no answer."""
        status = self._server.child.status()
        if status is None:
            return f"no answer in {self._patience_s:g} s"
        words = LAST_WORDS.search(text)
        return " ".join(words[0].split()) if words else f"the server ended with status {status}"

    def close(self) -> None:
        """Let go of the server; one that does not answer is not waited for."""
        self._client.close()
        if self._dead.is_set():
            self._server.child.stop(0)


def server_verdicts(
    repository: Path, models: Sequence[str] | None = None, *, patience_s: float = PATIENCE_S
) -> dict[str, Verdict]:
    """Ask the embedded server about each model of a repository; what the models execute is executed.

    A server that dies is started again, and asked about the rest.

    Args:
        repository: the model repository's folder.
        models: which to ask about; every folder in it where None is given.
        patience_s: how long one load may take.

    Raises:
        RepositoryNotFound: no such folder, or no model in it.
        EngineMissing: Triton is not installed, or not for this Python.
        ServerFailed: Triton does not start even without a model.
    """
    check_repository(repository)
    names = sorted(entry.name for entry in repository.iterdir() if entry.is_dir()) if models is None else [*models]
    # An ensemble loads and unloads its steps, so nothing else may go on beside it.
    alone = ensembles(repository, names)
    together = [name for name in names if name not in alone]
    judged: dict[str, Verdict] = {}
    while together or alone:
        with asking(repository, patience_s) as server:
            told = ask_together(server, together)
            suspects = [verdict.model for verdict in told if verdict.stage == "abort"]
            if len(suspects) > 1:  # it died of one of them: each is asked about again, by itself
                told = [verdict for verdict in told if verdict.stage != "abort"]
                alone = suspects + alone
            told += filter(None, map(server.ask, alone))
            judged |= {verdict.model: verdict for verdict in server.with_log(told)}
        together = [name for name in together if name not in judged and name not in alone]
        alone = [name for name in alone if name not in judged]
    return {name: judged[name] for name in names}


def ensembles(repository: Path, names: Sequence[str]) -> list[str]:
    """The models that are made of others."""
    configs = served_configs(repository, None, names)
    return [c.model for c in configs if c.message is not None and c.message.HasField("ensemble_scheduling")]


def ask_together(server: Asker, names: Sequence[str]) -> list[Verdict]:
    """Several at a time, until the server dies."""
    with ThreadPoolExecutor(LOADS_AT_ONCE) as pool:
        return [verdict for verdict in pool.map(server.ask, names) if verdict is not None]


@contextmanager
def asking(repository: Path, patience_s: float) -> Iterator[Asker]:
    """A server that has loaded nothing yet."""
    parts, ports = runtime(), free_ports()
    region = f"tritongen_{os.getpid()}_{ports.grpc}_"
    line = command(parts, repository, ports)
    line += ["--model-control-mode=explicit", f"--backend-config=python,shm-region-prefix-name={region}"]
    try:
        with tempfile.TemporaryDirectory(prefix="tritongen-") as folder:
            quoting = Path(folder) / "quoting.bash"
            quoting.write_text(QUOTING.replace("REGION", region))
            with running("embedded", line, ports, {**parts.env, "BASH_ENV": str(quoting)}) as server:
                asker = Asker(server, patience_s)
                try:
                    yield asker
                finally:
                    asker.close()
    finally:
        for leftover in SHARED_MEMORY.glob(f"{region}*"):
            with suppress(OSError):
                leftover.unlink()


def refused(name: str, answer: str) -> Verdict:
    """The verdict in an answer to a load."""
    if answer == NOT_POLLED.format(name):
        return Verdict(name, accepted=False, stage="poll", message=answer)
    why = answer.removeprefix(NOT_LOADED.format(name)).strip()
    stage = "version" if why.startswith(NO_VERSION) else "load"
    first = OF_A_VERSION.split(why)[:2][-1]
    return Verdict(name, accepted=False, stage=stage, message=plain(first).partition("\n\nAt:\n")[0])


def poll_refusals(log: str, names: Sequence[str]) -> dict[str, Verdict]:
    """The verdicts on models that could not be polled; core polls one at a time, so details go before their record."""
    found: dict[str, Verdict] = {}
    details: list[str] = []
    openings = [(opening.format(name), name) for name in sorted(names, key=len) for opening in POLL_OPENINGS][::-1]
    for line in log.split("\n"):
        if detail := PROTO_DETAIL.search(line):
            details.append(detail["detail"])
        elif record := POLL_RECORD.match(line):
            text: str = json.loads(record["text"], strict=False)
            opening, name = next((pair for pair in openings if text.startswith(pair[0])), ("", ""))
            if opening:
                found[name] = Verdict(name, False, "poll", text.removeprefix(opening), "; ".join(details))  # noqa: FBT003
            details = []
    return found
