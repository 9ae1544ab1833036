"""A real Triton's verdict on each model of a repository: it is started without any, and asked to load each."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from tritonclient.grpc import InferenceServerClient, InferenceServerException

from generator.repository.source import opened
from generator.server.embedded.engine import command
from generator.server.embedded.python_stub import own_region
from generator.server.embedded.runtime import runtime
from generator.server.lifecycle import running
from generator.server.log import PROTO_DETAIL, plain
from generator.server.ports import free_ports
from generator.server.served_configs import served_configs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from generator.repository.s3.url import S3Url
    from generator.repository.source import Source
    from generator.server.lifecycle import Server

LOADS_AT_ONCE = 4  # core's own number of loading threads; a load mostly waits: 1.5 s alone, 0.44 s a model by fours
PATIENCE_S = 120.0  # where a stub crashes, its load waits for ever
DEATH_S = 5.0

OF_A_VERSION = re.compile(r"(?:^|;)version -?\d+ is at UNAVAILABLE state: ")
# A record's text is a JSON string: a name's quotes and line breaks are escaped in it.
POLL_RECORD = re.compile(r'^E\d{4} .*?\] (?P<text>"(?:Poll failed for|failed to poll) model .*")$')
POLL_OPENINGS = ("Poll failed for model directory '{}': ", "failed to poll model '{}': ")
LAST_WORDS = re.compile(r"terminate called .+(?:\n +what\(\): .+)?|Signal \(\d+\) received\.")


@dataclass(frozen=True)
class Verdict:
    """What the server said to one model."""

    model: str
    accepted: bool  # it became READY
    stage: str  # "ready", or where it was refused: "poll", "version", "load"; "abort": the server died of it
    message: str  # the server's own sentence, "" when accepted
    detail: str = ""  # of a config that is no text format: "line:column: what"


@dataclass(frozen=True)
class Asker:
    """One server's life; several threads may ask."""

    server: Server
    client: InferenceServerClient
    patience_s: float
    dead: Event = field(default_factory=Event)

    def ask(self, name: str) -> Verdict | None:
        """Load a model and unload it; None where the server had died before."""
        if self.dead.is_set():
            return None
        try:
            self.client.load_model(name, client_timeout=self.patience_s)
        except UnicodeEncodeError:
            return refusal(name, "poll", "the name is not UTF-8: no client can ask for it")
        except InferenceServerException as error:
            return refusal(name, "abort") if self._died(error.status()) else refused(name, error.message())
        finally:
            # An ensemble that was refused has loaded its steps all the same.
            with suppress(InferenceServerException, UnicodeEncodeError):
                self.client.unload_model(name, unload_dependents=True, client_timeout=DEATH_S)
        return Verdict(name, accepted=True, stage="ready", message="")

    def _died(self, status: str) -> bool:
        """Whether the server ended, or does not answer any more."""
        gone = status == "StatusCode.UNAVAILABLE" and self.server.child.wait(DEATH_S) is not None
        if gone or status == "StatusCode.DEADLINE_EXCEEDED":
            self.dead.set()
            return True
        return False

    def with_log(self, verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
        """The verdicts with what is in the log only."""
        text = self.server.log.text()
        last_words = self._last_words(text)
        told = {v.model: refusal(v.model, "abort", last_words) if v.stage == "abort" else v for v in verdicts}
        return told | poll_refusals(text, [v.model for v in verdicts if v.stage == "poll"])

    def _last_words(self, text: str) -> str:
        """Why there was no answer."""
        status = self.server.child.status()
        if status is None:
            return f"no answer in {self.patience_s:g} s"
        words = LAST_WORDS.search(text)
        return " ".join(words[0].split()) if words else f"the server ended with status {status}"


def server_verdicts(
    repository: Path | S3Url, models: Sequence[str] | None = None, *, patience_s: float = PATIENCE_S
) -> dict[str, Verdict]:
    """Ask the embedded server about each model of a repository; code that a model brings is run.

    A server that dies is started again and asked about the rest.

    Raises:
        RepositoryNotFound: no such folder, or no model in it.
        EngineMissing: Triton is not installed, or not for this Python.
        ServerFailed: Triton does not start even without a model.
    """
    with opened(repository) as source:
        source.check()
        return asked_about(source, models, patience_s)


def asked_about(source: Source, models: Sequence[str] | None, patience_s: float) -> dict[str, Verdict]:
    """The same of an opened one."""
    names = sorted(entry.name for entry in source.folder.iterdir() if entry.is_dir()) if models is None else [*models]
    # An ensemble loads and unloads its steps, so nothing else may go on beside it.
    alone = ensembles(source.folder, names)
    together = [name for name in names if name not in alone]
    judged: dict[str, Verdict] = {}
    while together or alone:
        with asking(source, patience_s) as server, ThreadPoolExecutor(LOADS_AT_ONCE) as pool:
            told = [verdict for verdict in pool.map(server.ask, together) if verdict]
            suspects = [verdict.model for verdict in told if verdict.stage == "abort"]
            if len(suspects) > 1:  # it died of one of them: each is asked about again, by itself
                told = [verdict for verdict in told if verdict.stage != "abort"]
                alone = suspects + alone
            told += filter(None, map(server.ask, alone))
            judged |= server.with_log(told)
        together = [name for name in together if name not in judged and name not in alone]
        alone = [name for name in alone if name not in judged]
    return {name: judged[name] for name in names}


def ensembles(repository: Path, names: Sequence[str]) -> list[str]:
    """The models that are made of others."""
    configs = {config.model: config.message for config in served_configs(repository, None)}
    return [name for name in names if (config := configs.get(name)) and config.HasField("ensemble_scheduling")]


@contextmanager
def asking(source: Source, patience_s: float) -> Iterator[Asker]:
    """A server that has loaded nothing yet."""
    parts, ports = runtime(), free_ports()
    line = [*command(parts, source, ports), "--model-control-mode=explicit"]
    with (
        own_region(ports) as (flag, region),
        running("embedded", [*line, flag], ports, {**parts.env, **source.env, **region}) as server,
        InferenceServerClient(server.grpc_url) as client,
    ):
        asker = Asker(server, client, patience_s)
        yield asker
        if asker.dead.is_set():
            server.child.stop(0)  # one that does not answer would not end by itself


def refused(name: str, answer: str) -> Verdict:
    """The verdict in an answer to a load."""
    if answer == f"failed to load '{name}', failed to poll from model repository":
        return refusal(name, "poll", answer)
    why = answer.removeprefix(f"load failed for model '{name}': ").strip()
    first = OF_A_VERSION.split(why)[:2][-1]
    stage = "version" if why.startswith("at least one version must be available") else "load"
    return refusal(name, stage, plain(first).partition("\n\nAt:\n")[0])


def refusal(name: str, stage: str, message: str = "", detail: str = "") -> Verdict:
    """A model that is not accepted."""
    return Verdict(name, accepted=False, stage=stage, message=message, detail=detail)


def poll_refusals(log: str, names: Sequence[str]) -> dict[str, Verdict]:
    """Why models could not be polled; core polls one at a time, so a record follows its details."""
    found: dict[str, Verdict] = {}
    details: list[str] = []
    longest_first = sorted(names, key=len, reverse=True)
    openings = [(opening.format(name), name) for name in longest_first for opening in POLL_OPENINGS]
    for line in log.split("\n"):
        if detail := PROTO_DETAIL.search(line):
            details.append(detail["detail"])
        elif record := POLL_RECORD.match(line):
            text = json.loads(record["text"], strict=False)
            for opening, name in [pair for pair in openings if text.startswith(pair[0])][:1]:
                found[name] = refusal(name, "poll", text.removeprefix(opening), "; ".join(details))
            details = []
    return found
