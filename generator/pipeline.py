"""build(): from networks' names to verified models in a repository."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from generator import networks, repository, targets
from generator.config_file import ConfigFile, read_config_file
from generator.errors import BadOption, OutputFailed, TritongenError, UnknownName
from generator.labels import read_labels
from generator.render import CONFIG_TEMPLATE, LABELS, check_templates, config_text, default_config, target_configs
from generator.serving_options import from_call, in_force
from generator.spec import (
    PRECISIONS,
    REWRITES,
    BuildOptions,
    BuiltModel,
    DenseNetShape,
    Described,
    DPNShape,
    Network,
    OnnxFile,
    Preprocessing,
)
from generator.weights.fetch import fetch
from generator.weights.find import find
from generator.weights.publishers import PUBLISHERS, remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import nn

    from generator.spec import Weights

    OnStep = Callable[[Network, str], None]
    LoadWeights = Callable[[Network], tuple[nn.Module, Weights, Preprocessing]]

STEPS = ("weights", "export", "simplify", "verify", "publish")
OUTCOMES = ("published", "failed")
RANDOM = "random"


@dataclass(frozen=True)
class BuildReport:
    """The models that were published, and why the others were not."""

    built: tuple[BuiltModel, ...]
    failed: dict[str, TritongenError]


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
    load_weights = weights_loader(weights, seed, chosen, say)
    check_files(chosen, labels)
    output = Path(output)
    built: list[BuiltModel] = []
    failed: dict[str, TritongenError] = {}
    with repository.staging(output) as staging:
        for network in chosen:
            job = Job(network, options_of[network.name], load_weights, labels, template_dir)
            try:
                built.append(build_model(job, staging, output, on_step))
            except OutputFailed:
                raise  # the next model would meet the same disk
            except TritongenError as error:
                on_step(network, "failed")
                failed[network.name] = error
            else:
                on_step(network, "published")
    return BuildReport(tuple(built), failed)


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


@dataclass(frozen=True)
class Job:
    """One model that is to be made."""

    network: Network
    options: BuildOptions
    load_weights: LoadWeights
    labels: Path | None
    template_dir: Path | None


def build_model(job: Job, staging: Path, output: Path, on_step: OnStep) -> BuiltModel:
    """Make one model and publish it."""
    # torch, onnx and onnxsim are imported here: what is refused above is refused at once.
    with uninterrupted():
        from generator.prepare import prepare
        from generator.provenance import digests, provenance
        from generator.verify import verify

    network, options = job.network, job.options
    repository.check_replaceable(output.resolve() / network.name)
    staged = staging / network.name

    prepared = prepare(network, options, job.load_weights, lambda step: on_step(network, step))
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
    labels_file = job.labels or prepared.labels
    sha256 = digests(graph)
    described = Described(
        network.name, signature, prepared.weights, prepared.preprocessing,
        labelled=labels_file is not None, sha256="".join(sha256.values()),
    )  # fmt: skip
    variants = {
        repository.CONFIG_FILE: default_config(described, options),
        **{f"configs/{name}": variant for name, variant in target_configs(described, options).items()},
    }
    texts = {path: config_text(variant, job.template_dir).encode() for path, variant in variants.items()}
    if labels_file:
        texts[LABELS] = read_labels(labels_file, signature.classes)
    sha256 |= digests(texts)
    texts[repository.PROVENANCE_FILE] = provenance(
        network, prepared, options, certificate, sha256,
        template=job.template_dir / CONFIG_TEMPLATE if job.template_dir else None,
    )  # fmt: skip
    repository.write_model(staged, texts)
    return BuiltModel(
        network=network,
        weights=prepared.weights,
        folder=repository.publish(staged, output),
        size_bytes=sum(map(size_of, graph.values())),
        signature=signature,
        simplified=simplified,
        certificate=certificate,
    )


def size_of(content: bytes | Path) -> int:
    """In bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def weights_loader(
    weights: str | Path, seed: int, chosen: Sequence[Network], say: Callable[[str], None]
) -> LoadWeights:
    """A function from one of the ten networks to its module with these weights.

    Raises:
        BadOption: no file for a network, or weights for a network that has its own.
    """
    if not 0 <= seed < 2**31:
        raise BadOption("--seed", seed, "it must be from 0 to 2147483647")
    if weights == RANDOM:
        return lambda network: random_weights(network, seed)
    own = [network.name for network in chosen if not isinstance(network.shape, DenseNetShape | DPNShape)]
    if own:
        raise BadOption("--weights", weights, f"{own[0]} brings its own")
    if weights in PUBLISHERS:
        remotes = {network.name: remote(str(weights), network) for network in chosen}
        return lambda network: file_weights(network, fetch(str(weights), remotes[network.name], say))
    files = find(Path(weights), chosen)
    return lambda network: file_weights(network, files[network.name])


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
