"""build(): build verified models into a repository."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, Unpack

from generator.builder.arguments import (
    RANDOM,
    check_files,
    checked_limits,
    checked_options,
    chosen_networks,
    weights_source,
    with_serving,
)
from generator.builder.provenance import Provenance
from generator.builder.staleness import Action, Job, required_action
from generator.builder.worker_pool import Limits, OnStep, build_in_parallel
from generator.config.render import check_templates
from generator.config.serving import Serving
from generator.errors import OutputFailed, StorageFailed, TritongenError
from generator.graph.types import REWRITES, GraphFacts
from generator.networks.types import Network
from generator.repository import folder
from generator.repository.destination import Destination, destination
from generator.repository.folder import ModelFolder, Published
from generator.repository.s3.url import S3Url, location
from generator.types import Signature, Weights
from generator.verify.certificate import Certificate

Plan = tuple[Network, tuple[Job, Action] | TritongenError]

logger = logging.getLogger(__name__)

STEPS = ("weights", "export", "simplify", "verify", "publish")
OUTCOMES = ("published", "rendered", "up to date", "failed")
FORCED = Action("published", "a rebuild was forced")

T = TypeVar("T")


@dataclass(frozen=True)
class BuiltModel:
    """A model in the repository, for the summary; `size_bytes` is the size of its graph."""

    network: Network
    weights: Weights
    folder: Path | S3Url
    size_bytes: int
    variants: tuple[str, ...]
    signature: Signature
    graph: GraphFacts
    certificate: Certificate


@dataclass(frozen=True)
class BuildReport:
    """The result of a build: the models that are up to date, the errors of the others, and the action for each."""

    built: tuple[BuiltModel, ...]
    failed: dict[str, TritongenError]
    needed: dict[str, Action]


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
    """Build models into a repository; publish each as soon as it is verified.

    If a model fails, the others are still built, and its published version stays.

    Args:
        models: names, glob patterns or `all`; user networks from `onnx_network` and `torch_network`.
        precision: the precision of the default `config.pbtxt`, fp16 or fp32.
        gpus: the GPUs with variants in `configs/`; `cpu` uses `config.pbtxt` and has none.
        output: the repository: a folder, or `s3://bucket/prefix`.
        weights: `random`, a publisher (torchvision, timm, paddleclas), or a file or folder in a publisher's format.
        seed: the seed of random weights.
        tolerance: the maximum relative error against the reference, at most 1e-4.
        rewrites: the rewrites to apply to the graphs.
        labels: a file with one class per line, for one network; by default ImageNet's for the built-in networks.
        config: a TOML file of serving options, for all networks or for single ones.
        template_dir: a folder whose config.pbtxt.j2 replaces the built-in template.
        force: build every model, even if it is up to date.
        dry_run: only report the action for each model; write nothing.
        jobs: the number of models built at once, each in its own process; by default the number of cores.
        memory_gib: the memory that they may use together, in GiB; by default half of the free memory.
        on_step: called with the network and each step that begins, then with its outcome, one of OUTCOMES.
        serving: serving options for all networks; they override the file.

    Raises:
        UsageError: a name is unknown or a value is out of range; nothing was written.
        OutputFailed, StorageFailed: the repository cannot be written; models already published stay.
    """
    on_step = logged(on_step)
    chosen = chosen_networks(models)
    labels, config, template_dir = (None if path is None else Path(path) for path in (labels, config, template_dir))
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

    def action_of(job: Job) -> Action:
        return FORCED if force else required_action(job, target.published(job.network.name))

    if dry_run:
        return report(plan_models(chosen, job_of, action_of), {})
    with target.staging() as staging:
        plans = plan_models(chosen, job_of, action_of)
        actions, results = actions_of(plans), {}
        with closing(build_models(plans, staging, target, limits, on_step)) as finished:
            for network, result in finished:
                if isinstance(result, OutputFailed | StorageFailed):
                    raise result  # the next model would fail in the same way
                on_step(network, "failed" if isinstance(result, TritongenError) else actions[network.name].outcome)
                results[network.name] = result
        return report(plans, results)


def logged(on_step: OnStep) -> OnStep:
    """Return a callback that logs each step with the time since the start, and passes the step on."""
    start = time.monotonic()

    def log_and_call(network: Network, step: str) -> None:
        logger.debug("%6.1f s: %s: %s", time.monotonic() - start, network.name, step)
        on_step(network, step)

    return log_and_call


def plan_models(
    chosen: Sequence[Network], job_of: Callable[[Network], Job], action_of: Callable[[Job], Action]
) -> list[Plan]:
    """Return the job and the action for each model, or its error."""

    def plan(job: Job | TritongenError) -> tuple[Job, Action]:
        if isinstance(job, TritongenError):
            raise job
        action = action_of(job)
        logger.debug("%s is to be %s: %s", job.network.name, action.outcome, action.why or "nothing has changed")
        return job, action

    jobs = [result_or_error(job_of, network) for network in chosen]  # in sequence: weights may be downloaded
    with ThreadPoolExecutor() as pool:  # in parallel: published files are hashed
        return list(zip(chosen, pool.map(partial(result_or_error, plan), jobs), strict=True))


def build_models(
    plans: Sequence[Plan], staging: Path, target: Destination, limits: Limits, on_step: OnStep
) -> Generator[tuple[Network, BuiltModel | TritongenError]]:
    """Yield each model when it is up to date, or its error; models that need no export come first."""
    to_export: list[Job] = []
    for network, plan in plans:
        match plan:
            case TritongenError():
                yield network, plan
            case (job, Action(outcome="published")):
                to_export.append(job)
            case (_, Action(provenance=provenance) as action):
                assert provenance is not None  # it was read, or the graph would be exported  # noqa: S101
                if action.outcome == "rendered":
                    on_step(network, "publish")
                    kept = provenance.graph_digests
                    yield network, result_or_error(publish, network, provenance, action.texts, kept, staging, target)
                else:
                    yield network, built_model(network, provenance, target, target.published(network.name))
    with closing(build_in_parallel(to_export, staging, limits, on_step)) as results:
        for job, result in results:
            if isinstance(result, TritongenError):
                yield job.network, result
            else:
                yield job.network, result_or_error(publish, job.network, *result, (), staging, target)


def publish(
    network: Network,
    provenance: Provenance,
    texts: Mapping[str, bytes],
    kept: Iterable[str],
    staging: Path,
    target: Destination,
) -> BuiltModel:
    """Publish a model from its staged files, its texts, and the files kept from the published version."""
    staged = staging / network.name
    folder.write_model(staged, texts)
    graph = target.published(network.name) if kept else ModelFolder(staged)
    model = built_model(network, provenance, target, graph)
    target.publish(staged, kept)
    return model


def built_model(network: Network, provenance: Provenance, target: Destination, graph: Published) -> BuiltModel:
    """Return the summary of a model, whose graph is in `graph`."""
    size_bytes = sum(map(graph.size_bytes, provenance.graph_digests))
    return BuiltModel(
        network, provenance.weights, target.location(network.name), size_bytes, provenance.variants,
        provenance.signature, provenance.graph, provenance.certificate,
    )  # fmt: skip


def result_or_error(function: Callable[..., T], *arguments: object) -> T | TritongenError:
    """Call a function; return its result or its error, so that one failed model does not stop the others."""
    try:
        return function(*arguments)
    except TritongenError as error:
        return error


def actions_of(plans: Sequence[Plan]) -> dict[str, Action]:
    """Return the action for each model by name."""
    return {network.name: plan[1] for network, plan in plans if not isinstance(plan, TritongenError)}


def report(plans: Sequence[Plan], results: Mapping[str, BuiltModel | TritongenError]) -> BuildReport:
    """Return the report in the order of the request; without results it is the report of a dry run."""
    known = [(network.name, results.get(network.name, plan)) for network, plan in plans]
    return BuildReport(
        tuple(result for _, result in known if isinstance(result, BuiltModel)),
        {name: result for name, result in known if isinstance(result, TritongenError)},
        actions_of(plans),
    )
