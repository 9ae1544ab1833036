"""build(): from networks' names to verified models in a repository."""

from __future__ import annotations

import signal
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from generator import networks, repository, targets
from generator.config_file import ConfigFile, read_config_file
from generator.errors import BadOption, OutputFailed, TritongenError, UnknownName
from generator.provenance import digests, of_prepared
from generator.render import check_templates
from generator.serving_options import from_call, in_force
from generator.spec import (
    PRECISIONS,
    REWRITES,
    BuildOptions,
    BuiltModel,
    DenseNetShape,
    DPNShape,
    Network,
    OnnxFile,
    Preprocessing,
)
from generator.to_do import Job, Todo, WeightsSource, defined, to_do, with_texts
from generator.weights.fetch import fetch
from generator.weights.find import find
from generator.weights.publishers import PUBLISHERS, remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import nn

    from generator.provenance import Provenance
    from generator.spec import Weights

    OnStep = Callable[[Network, str], None]

STEPS = ("weights", "export", "simplify", "verify", "publish")
OUTCOMES = ("published", "rendered", "up to date", "failed")
FORCED = Todo("published", "--force")
RANDOM = "random"


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
    output: str | Path = "model_repository",
    weights: str | Path = RANDOM,
    seed: int = 0,
    tolerance: float = 1e-4,
    rewrites: Iterable[str] = REWRITES,
    labels: str | Path | None = None,
    config: str | Path | None = None,
    template_dir: str | Path | None = None,
    force: bool = False,
    dry_run: bool = False,
    on_step: OnStep = lambda _network, _step: None,
    say: Callable[[str], None] = lambda _text: None,
    **serving: object,
) -> BuildReport:
    """Build models into a repository, each published as soon as it is verified.

    A model that fails is left out and the others are built; what was there under its name stays.

    Args:
        models: names, glob patterns or `all`; networks of one's own, by `onnx_network` and `torch_network`.
        precision: which variant `config.pbtxt` is, fp16 or fp32.
        gpus: for which GPUs the variants in `configs/` are written; `cpu` is served by `config.pbtxt` and has none.
        output: the repository.
        weights: `random`, a publisher (torchvision, timm, paddleclas), or a file or folder of theirs.
        seed: of the random weights.
        tolerance: the largest error that is published, relative to the largest logit; 1e-4 at most.
        rewrites: which of our rewrites are applied.
        labels: a file with a class a line, for one network; ImageNet's for the ten.
        config: a TOML file of serving options, for all networks and for some of them.
        template_dir: a folder whose config.pbtxt.j2 is used in place of ours.
        force: make every model, whether it is up to date or not.
        dry_run: only find out what each model needs; nothing is written.
        on_step: called with the network and the step that begins, then with `published` or `failed`.
        say: told what takes long.
        serving: the fields of ServingOptions, for all networks; they go before the file's.

    Raises:
        UsageError: an unknown name or a value out of range; nothing was written.
        OutputFailed: the repository cannot be written; models published before that stay.
    """
    models = [models] if isinstance(models, str | Network) else list(models)
    chosen = [
        *networks.select([model for model in models if isinstance(model, str)]),
        *(model for model in models if isinstance(model, Network)),
    ]
    if not chosen:
        raise BadOption("--models", "", "it names no network", "--models all is every one")
    labels, config, template_dir = map(as_path, (labels, config, template_dir))
    options = checked_options(precision, gpus, tolerance, rewrites)
    options_of = with_serving(options, chosen, config, serving)
    if template_dir:
        check_templates(template_dir)
    source = weights_source(weights, seed, chosen, say)
    check_files(chosen, labels)
    output = Path(output)
    jobs = [Job(network, options_of[network.name], source, labels, template_dir) for network in chosen]
    built: list[BuiltModel] = []
    failed: dict[str, TritongenError] = {}
    needed: dict[str, Todo] = {}
    with nullcontext(output) if dry_run else repository.staging(output) as staging:
        for job in jobs:
            network, target = job.network, output.resolve() / job.network.name
            try:
                repository.check_replaceable(target)
                needed[network.name] = FORCED if force else to_do(job, target)
                if not dry_run:
                    built.append(build_model(job, needed[network.name], staging, output, on_step))
            except OutputFailed:
                raise  # the next model would meet the same disk
            except TritongenError as error:
                on_step(network, "failed")
                failed[network.name] = error
            else:
                on_step(network, "planned" if dry_run else needed[network.name].outcome)
    return BuildReport(tuple(built), failed, needed)


def as_path(path: str | Path | None) -> Path | None:
    """A path that was given as either, or not given."""
    return None if path is None else Path(path)


def check_files(chosen: Sequence[Network], labels: Path | None) -> None:
    """Raise BadOption where a file that was named is not there, or is of one network and several were chosen."""
    for network in chosen:
        if isinstance(network.shape, OnnxFile) and not network.shape.path.exists():
            raise BadOption("--onnx", network.shape.path, "there is no such file")
        if isinstance(network.shape, OnnxFile) and not (network.shape.path.is_file() or network.shape.path.is_dir()):
            raise BadOption("--onnx", network.shape.path, "it is no regular file")
    if labels and len(chosen) > 1:
        raise BadOption("--labels", labels, f"it is of one network, and {len(chosen)} were chosen")
    if labels and not labels.exists():
        raise BadOption("--labels", labels, "there is no such file")


def build_model(job: Job, todo: Todo, staging: Path, output: Path, on_step: OnStep) -> BuiltModel:
    """Bring one model up to date: make it and publish it, render its configs, or leave it as it is."""
    target = output.resolve() / job.network.name
    staged = staging / job.network.name
    match todo.outcome:
        case "published":
            found, texts = make(job, staged, on_step)
        case "rendered":
            assert todo.found is not None  # noqa: S101 (what is rendered was read)
            on_step(job.network, "publish")
            found, texts = todo.found, todo.texts
            repository.link_files(target, staged, found.graph_sha256)
        case "up to date":
            assert todo.found is not None  # noqa: S101 (what is left alone was read)
            return summary(job.network, todo.found, target)
    repository.write_model(staged, texts)
    folder = repository.publish(staged, output)
    return summary(job.network, found, folder)


def make(job: Job, staged: Path, on_step: OnStep) -> tuple[Provenance, dict[str, bytes]]:
    """Export, simplify and verify one model, its graph staged; what its texts are is returned."""
    # torch, onnx and onnxsim are imported here: what is refused above is refused at once.
    with uninterrupted():
        from generator.prepare import prepare
        from generator.verify import verify

    network, options = job.network, job.options
    prepared = prepare(network, options, job.weights.load, lambda step: on_step(network, step))
    signature, simplified = prepared.signature, prepared.simplified
    graph: dict[str, bytes | Path] = {
        repository.MODEL_FILE: simplified.model.SerializeToString(deterministic=True),
        **{f"{repository.VERSION}/{name}": path for name, path in simplified.sidecars.items()},
    }
    repository.write_model(staged, graph)

    on_step(network, "verify")
    certificate = verify(
        network.name,
        staged / repository.MODEL_FILE,
        prepared.reference,
        signature,
        preprocessing=prepared.preprocessing,
        tolerance=options.tolerance,
    )

    on_step(network, "publish")
    found = replace(
        of_prepared(network, prepared, options, certificate),
        network=defined(job),
        sha256=digests(graph),
    )
    return with_texts(job, found, job.labels or prepared.labels)


def summary(network: Network, found: Provenance, folder: Path) -> BuiltModel:
    """A model that is there."""
    size_bytes = sum((folder / name).stat().st_size for name in found.graph_sha256)
    return BuiltModel(network, found.weights, folder, size_bytes, found.signature, found.graph, found.certificate)


def weights_source(
    weights: str | Path, seed: int, chosen: Sequence[Network], say: Callable[[str], None]
) -> WeightsSource:
    """Where the modules of the ten networks come from.

    Raises:
        BadOption: no file for a network, or weights for a network that has its own.
    """
    if not 0 <= seed < 2**31:
        raise BadOption("--seed", seed, "it must be from 0 to 2147483647")
    if weights == RANDOM:
        return WeightsSource(lambda network: random_weights(network, seed), seed=seed)
    own = [network.name for network in chosen if not isinstance(network.shape, DenseNetShape | DPNShape)]
    if own:
        raise BadOption("--weights", weights, f"{own[0]} brings its own")
    if weights in PUBLISHERS:
        remotes = {network.name: remote(str(weights), network) for network in chosen}

        def file_of(network: Network) -> Path:
            return fetch(str(weights), remotes[network.name], say)
    else:
        files = find(Path(weights), chosen)

        def file_of(network: Network) -> Path:
            return files[network.name]

    return WeightsSource(lambda network: file_weights(network, file_of(network)), file_of=file_of)


def random_weights(network: Network, seed: int) -> tuple[nn.Module, Weights, Preprocessing]:
    """Seeded ones; images are taken ImageNet's way."""
    from generator.weights.random import random_network

    return (*random_network(network, seed), Preprocessing())


def file_weights(network: Network, path: Path) -> tuple[nn.Module, Weights, Preprocessing]:
    """Those of a file."""
    from generator.weights.load import load

    return load(network, path)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back: torch's native code aborts the process when its import is interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def with_serving(
    options: BuildOptions, chosen: Sequence[Network], config: Path | None, said: Mapping[str, object]
) -> dict[str, BuildOptions]:
    """Each network's options: what the call says goes before what the file says."""
    called = from_call(said)
    known = dict.fromkeys(network.name for network in (*networks.select(["all"]), *chosen))
    file = read_config_file(config, known) if config is not None else ConfigFile()
    return {
        network.name: replace(options, serving=in_force([*file.of(network.name), called], options.gpus))
        for network in chosen
    }


def checked_options(precision: str, gpus: Iterable[str], tolerance: float, rewrites: Iterable[str]) -> BuildOptions:
    """The options that all networks share, each held to what it may be."""
    wanted = precision.lower()
    if wanted not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if not 0 < tolerance <= BuildOptions.tolerance:
        raise BadOption(
            "--tolerance", tolerance, f"it can only be tightened: above 0 and at most {BuildOptions.tolerance}"
        )
    gpus = list(gpus)
    if not gpus:
        raise BadOption("--gpu", "", "it names nothing", "--gpu cpu writes config.pbtxt alone")
    return BuildOptions(
        precision=wanted,
        gpus=tuple(dict.fromkeys(target.name for target in map(targets.find, gpus) if target.gpu)),
        tolerance=tolerance,
        rewrites=chosen_rewrites(rewrites),
    )


def chosen_rewrites(names: Iterable[str]) -> tuple[str, ...]:
    """The rewrites, in the order in which they are applied; `all` and `none` are names too."""
    wanted = {name.lower() for name in names}
    for name in wanted - {"all", "none", *REWRITES}:
        raise UnknownName("rewrite", name, (*REWRITES, "all", "none"))
    if "none" in wanted and len(wanted) > 1:
        raise BadOption("--rewrites", ",".join(sorted(wanted)), "none goes with no other")
    return tuple(name for name in REWRITES if wanted & {name, "all"})
