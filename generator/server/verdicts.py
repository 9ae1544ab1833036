"""The verdict of a real Triton on each model of a repository: it starts without models and loads each one."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from tritonclient.grpc import InferenceServerClient, InferenceServerException

from generator.repository.s3.url import S3Url
from generator.repository.source import Source, opened
from generator.server.embedded import engine
from generator.server.embedded.runtime import runtime
from generator.server.lifecycle import PROTO_DETAIL, Server, unwrapped
from generator.server.ports import free_ports
from generator.server.served_configs import served_configs

LOADS_AT_ONCE = 4  # the number of loading threads of core; a load mostly waits: 1.5 s alone, 0.44 s per model by fours
PATIENCE_S = 120.0  # the load of a crashed stub never ends
DEATH_S = 5.0

UNAVAILABLE_VERSION = re.compile(r"(?:^|;)version -?\d+ is at UNAVAILABLE state: ")
# The text of a record is a JSON string: quotes and line breaks of a name are escaped.
POLL_RECORD = re.compile(r'^E\d{4} .*?\] (?P<text>"(?:Poll failed for|failed to poll) model .*")$')
POLL_OPENINGS = ("Poll failed for model directory '{}': ", "failed to poll model '{}': ")
LAST_WORDS = re.compile(r"terminate called .+(?:\n +what\(\): .+)?|Signal \(\d+\) received\.")


@dataclass(frozen=True)
class Verdict:
    """The server's answer to loading a model."""

    model: str
    stage: str  # "ready", or where it was refused: "poll", "version", "load"; "abort" if the server died
    message: str = ""  # the server's own sentence, "" if accepted
    detail: str = ""  # of a config that is not valid text format: "line:column: message"

    @property
    def accepted(self) -> bool:
        """Return True if the model became READY."""
        return self.stage == "ready"


@dataclass(frozen=True)
class Judge:
    """A server that loads models; several threads may use it."""

    server: Server
    client: InferenceServerClient
    patience_s: float
    dead: Event = field(default_factory=Event)

    def verdict(self, name: str) -> Verdict | None:
        """Load and unload a model; return None if the server had died before."""
        if self.dead.is_set():
            return None
        try:
            self.client.load_model(name, client_timeout=self.patience_s)
        except UnicodeEncodeError:
            return Verdict(name, "poll", "the name is not UTF-8: no client can ask for it")
        except InferenceServerException as error:
            ended = error.status() == "StatusCode.UNAVAILABLE" and self.server.child.wait(DEATH_S) is not None
            if not ended and error.status() != "StatusCode.DEADLINE_EXCEEDED":
                return refused(name, error.message())
            self.dead.set()
            return Verdict(name, "abort")
        finally:
            # A refused ensemble has loaded its steps.
            with suppress(InferenceServerException, UnicodeEncodeError):
                self.client.unload_model(name, unload_dependents=True, client_timeout=DEATH_S)
        return Verdict(name, "ready")

    def with_log(self, verdicts: Sequence[Verdict]) -> dict[str, Verdict]:
        """Complete verdicts with the reasons that only the log has."""
        text = self.server.log.text()
        status = self.server.child.status()
        if status is None:
            reason = f"no answer in {self.patience_s:g} s"
        elif words := LAST_WORDS.search(text):
            reason = " ".join(words[0].split())
        else:
            reason = f"the server ended with status {status}"
        completed = {v.model: replace(v, message=reason) if v.stage == "abort" else v for v in verdicts}
        return completed | poll_refusals(text, [v.model for v in verdicts if v.stage == "poll"])


def server_verdicts(
    repository: Path | S3Url, models: Sequence[str] | None = None, *, patience_s: float = PATIENCE_S
) -> dict[str, Verdict]:
    """Load each model of a repository in the embedded server; this runs the code that a model brings.

    A server that dies is started again for the other models.

    Raises:
        RepositoryNotFound: the folder does not exist or has no model.
        EngineMissing: Triton is not installed, or not for this Python.
        ServerFailed: Triton does not start even without models.
    """
    with opened(repository) as source:
        source.check()
        folder = source.folder
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if models is None else [*models]
        configs = {config.model: config.message for config in served_configs(folder, None)}
        # An ensemble loads and unloads its steps: nothing else may be loaded at the same time.
        alone = [name for name in names if (config := configs.get(name)) and config.HasField("ensemble_scheduling")]
        together = [name for name in names if name not in alone]
        verdicts: dict[str, Verdict] = {}
        while together or alone:
            with started(source, patience_s) as judge, ThreadPoolExecutor(LOADS_AT_ONCE) as pool:
                new = [verdict for verdict in pool.map(judge.verdict, together) if verdict]
                suspects = [verdict.model for verdict in new if verdict.stage == "abort"]
                if len(suspects) > 1:  # one of them ended the server: each is loaded again, alone
                    new = [verdict for verdict in new if verdict.stage != "abort"]
                    alone = suspects + alone
                new += filter(None, map(judge.verdict, alone))
                verdicts |= judge.with_log(new)
            together = [name for name in together if name not in verdicts and name not in alone]
            alone = [name for name in alone if name not in verdicts]
        return {name: verdicts[name] for name in names}


@contextmanager
def started(source: Source, patience_s: float) -> Iterator[Judge]:
    """Start a server that has loaded no model yet."""
    parts, ports = runtime(), free_ports()
    line = [*engine.command(parts, source, ports), "--model-control-mode=explicit"]
    with engine.started(parts, source, ports, line) as server, InferenceServerClient(server.grpc_url) as client:
        judge = Judge(server, client, patience_s)
        yield judge
        if judge.dead.is_set():
            server.child.stop(0)  # a server that does not answer would not end by itself


def refused(name: str, answer: str) -> Verdict:
    """Return the verdict that an error answer to a load stands for."""
    if answer == f"failed to load '{name}', failed to poll from model repository":
        return Verdict(name, "poll", answer)
    reason = answer.removeprefix(f"load failed for model '{name}': ").strip()
    first = UNAVAILABLE_VERSION.split(reason)[:2][-1]
    stage = "version" if reason.startswith("at least one version must be available") else "load"
    return Verdict(name, stage, unwrapped(first).partition("\n\nAt:\n")[0])


def poll_refusals(log: str, names: Sequence[str]) -> dict[str, Verdict]:
    """Return why models could not be polled; core polls one at a time, so the details precede their record."""
    refusals: dict[str, Verdict] = {}
    details: list[str] = []
    longest_first = sorted(names, key=len, reverse=True)
    openings = [(opening.format(name), name) for name in longest_first for opening in POLL_OPENINGS]
    for line in log.split("\n"):
        if detail := PROTO_DETAIL.search(line):
            details.append(detail["detail"])
        elif record := POLL_RECORD.match(line):
            text = json.loads(record["text"], strict=False)
            for opening, name in [pair for pair in openings if text.startswith(pair[0])][:1]:
                refusals[name] = Verdict(name, "poll", text.removeprefix(opening), "; ".join(details))
            details = []
    return refusals
