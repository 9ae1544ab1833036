"""build(): from networks' names to verified models in a repository."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, Unpack

from generator.builder.arguments import (
    RANDOM,
    as_path,
    check_files,
    checked_limits,
    checked_options,
    chosen_networks,
    weights_source,
    with_serving,
)
from generator.builder.staleness import Job, Todo, to_do
from generator.builder.types import BuiltModel
from generator.builder.worker_pool import side_by_side
from generator.config.render import check_templates
from generator.errors import OutputFailed, StorageFailed, TritongenError
from generator.graph.types import REWRITES
from generator.repository import folder
from generator.repository.destination import destination
from generator.repository.model_files import ModelFolder
from generator.repository.s3.url import location

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path

    from generator.builder.provenance import Provenance
    from generator.builder.worker_pool import Limits
    from generator.config.serving import Serving
    from generator.networks.types import Network
    from generator.repository.destination import Destination
    from generator.repository.s3.url import S3Url

    OnStep = Callable[[Network, str], None]
    Planned = tuple[Network, tuple[Job, Todo] | TritongenError]
    Ended = tuple[Network, BuiltModel | TritongenError]

logger = logging.getLogger(__name__)

STEPS = ("weights", "export", "simplify", "verify", "publish")
OUTCOMES = ("published", "rendered", "up to date", "failed")
FORCED = Todo("published", "a rebuild was forced")

T = TypeVar("T")


@dataclass(frozen=True)
class BuildReport:
    """The models that are up to date now, why the others are not, and what each needed."""

    built: tuple[BuiltModel, ...]
    failed: dict[str, TritongenError]
    needed: dict[str, Todo]


def build(
    models: str | Network | Iterable[str | Network] = "all",
    *,
    precision: str = "fp16",
    gpus: Iterable[str] = ("v100", "t4"),
    output: str | Path | S3Url = "model_repository",
    weights: str | Path = RANDOM,
    seed: int = 0,
    tolerance: float = 1e-4,
    rewrites: Iterable[str] = REWRITES,
    labels: str | Path | None = None,
    config: str | Path | None = None,
    template_dir: str | Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    jobs: int | None = None,
    memory_gib: float | None = None,
    on_step: OnStep = lambda _network, _step: None,
    **serving: Unpack[Serving],
) -> BuildReport:
    """Build models into a repository, each published as soon as it is verified.

    A model that fails is left out and the others are built; what was there under its name stays.

    Args:
        models: names, glob patterns or `all`; networks of one's own, by `onnx_network` and `torch_network`.
        precision: which variant `config.pbtxt` is, fp16 or fp32.
        gpus: for which GPUs the variants in `configs/` are written; `cpu` is served by `config.pbtxt` and has none.
        output: the repository: a folder, or `s3://bucket/prefix`.
        weights: `random`, a publisher (torchvision, timm, paddleclas), or a file or folder of theirs.
        seed: of the random weights.
        tolerance: the largest error that is published, relative to the largest logit; 1e-4 at most.
        rewrites: which of our rewrites are applied.
        labels: a file with a class a line, for one network; ImageNet's for the ten.
        config: a TOML file of serving options, for all networks and for some of them.
        template_dir: a folder whose config.pbtxt.j2 is used in place of ours.
        force: make every model, whether it is up to date or not.
        dry_run: only find out what each model needs; nothing is written.
        jobs: how many models are made at once, each in a process of its own; as many as there are cores unless told.
        memory_gib: what they may take together, in GiB; half of what is free unless told.
        on_step: called with the network and the step that begins, then with how it ended, one of OUTCOMES.
        serving: serving options of all networks; they override the file.

    Raises:
        UsageError: an unknown name or a value out of range; nothing was written.
        OutputFailed, StorageFailed: the repository cannot be written; models published before that stay.
    """
    on_step = logged(on_step)
    chosen = chosen_networks(models)
    labels, config, template_dir = map(as_path, (labels, config, template_dir))
    options = with_serving(checked_options(precision, gpus, tolerance, rewrites), chosen, config, serving)
    if template_dir:
        check_templates(template_dir)
    weights_of = weights_source(weights, seed, chosen)
    check_files(chosen, labels)
    limits = checked_limits(jobs, memory_gib)
    target = destination(location(output, "output"))
    target.check()

    def job_of(network: Network) -> Job:
        target.check_replaceable(network.name)
        return Job(network, options[network.name], weights_of(network), labels, template_dir)

    def todo_of(job: Job) -> Todo:
        return FORCED if force else to_do(job, target.published(job.network.name))

    if dry_run:
        return report(planned(chosen, job_of, todo_of), {})
    with target.staging() as staging:
        plans = planned(chosen, job_of, todo_of)
        with closing(carried_out(plans, staging, target, limits, on_step)) as ended:
            return report(plans, collected(ended, plans, on_step))


def logged(on_step: OnStep) -> OnStep:
    """Return a callback that logs each step with the time since the start, and passes the step on."""
    begun = time.monotonic()

    def log_and_call(network: Network, step: str) -> None:
        logger.debug("%6.1f s: %s: %s", time.monotonic() - begun, network.name, step)
        on_step(network, step)

    return log_and_call


def planned(
    chosen: Sequence[Network], job_of: Callable[[Network], Job], todo_of: Callable[[Job], Todo]
) -> list[Planned]:
    """What each model needs, or why it cannot be had."""

    def plan(job: Job | TritongenError) -> tuple[Job, Todo] | TritongenError:
        if isinstance(job, TritongenError):
            return job
        todo = attempt(todo_of, job)
        if isinstance(todo, Todo):
            logger.debug("%s is to be %s: %s", job.network.name, todo.outcome, todo.why or "nothing has changed")
        return todo if isinstance(todo, TritongenError) else (job, todo)

    jobs = [attempt(job_of, network) for network in chosen]  # one by one: weights may have to be fetched
    with ThreadPoolExecutor() as pool:  # on all cores: published files are hashed
        return list(zip(chosen, pool.map(plan, jobs), strict=True))


def carried_out(
    plans: Sequence[Planned], staging: Path, target: Destination, limits: Limits, on_step: OnStep
) -> Generator[Ended]:
    """Each model as it is up to date, or why it is not; first those that take no time."""
    to_make: list[Job] = []
    for network, plan in plans:
        match plan:
            case TritongenError():
                yield network, plan
            case (job, Todo(outcome="published")):
                to_make.append(job)
            case (_, Todo(found=found) as todo):
                assert found is not None  # what is not made anew was read  # noqa: S101
                if todo.outcome == "rendered":
                    on_step(network, "publish")
                    kept = found.graph_digests  # the graph that is there
                    yield network, attempt(published, network, todo.texts, found, kept, staging, target)
                else:
                    sizes = map(target.published(network.name).size_bytes, found.graph_digests)
                    yield network, summary(network, found, target, sum(sizes))
    with closing(side_by_side(to_make, staging, limits, on_step)) as results:
        for job, made in results:
            if isinstance(made, TritongenError):
                yield job.network, made
            else:  # with the graph that is staged
                yield job.network, attempt(published, job.network, made.texts, made.found, (), staging, target)


def published(
    network: Network,
    texts: Mapping[str, bytes],
    found: Provenance,
    kept: Iterable[str],
    staging: Path,
    target: Destination,
) -> BuiltModel:
    """Of the files that are staged, its texts, and what is kept of the model that is there."""
    staged = staging / network.name
    folder.write_model(staged, texts)
    graph = target.published(network.name) if kept else ModelFolder(staged)
    size_bytes = sum(map(graph.size_bytes, found.graph_digests))
    target.publish(staged, kept)
    return summary(network, found, target, size_bytes)


def summary(network: Network, found: Provenance, target: Destination, size_bytes: int) -> BuiltModel:
    """A model that is there, with a graph of so many bytes."""
    return BuiltModel(
        network, found.weights, target.location(network.name), size_bytes, found.variants,
        found.signature, found.graph, found.certificate,
    )  # fmt: skip


def attempt(function: Callable[..., T], *arguments: object) -> T | TritongenError:
    """What it returns, or why it does not: one model that fails does not stop the others."""
    try:
        return function(*arguments)
    except TritongenError as error:
        return error


def collected(
    ended: Iterable[Ended], plans: Sequence[Planned], on_step: OnStep
) -> dict[str, BuiltModel | TritongenError]:
    """What became of each model by its name, told as it ends.

    Raises:
        OutputFailed, StorageFailed: the repository cannot be written; the next model would meet the same.
    """
    needed = needs(plans)
    results: dict[str, BuiltModel | TritongenError] = {}
    for network, result in ended:
        if isinstance(result, OutputFailed | StorageFailed):
            raise result
        on_step(network, "failed" if isinstance(result, TritongenError) else needed[network.name].outcome)
        results[network.name] = result
    return results


def needs(plans: Sequence[Planned]) -> dict[str, Todo]:
    """What each model needs, by its name."""
    return {network.name: plan[1] for network, plan in plans if not isinstance(plan, TritongenError)}


def report(plans: Sequence[Planned], results: Mapping[str, BuiltModel | TritongenError]) -> BuildReport:
    """In the order in which the models were asked for; without results, what would be done."""
    known = [(network.name, results.get(network.name, plan)) for network, plan in plans]
    return BuildReport(
        tuple(result for _, result in known if isinstance(result, BuiltModel)),
        {name: result for name, result in known if isinstance(result, TritongenError)},
        needs(plans),
    )
