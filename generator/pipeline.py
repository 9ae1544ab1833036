"""build(): from networks' names to verified models in a repository."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator import image, networks, repository, targets
from generator.errors import BadOption, OutputFailed, TritongenError, UnknownName
from generator.spec import PRECISIONS, BuildOptions, BuiltModel, Network, Preprocessing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    OnStep = Callable[[Network, str], None]

STEPS = ("weights", "export", "simplify", "verify", "publish")
OUTCOMES = ("published", "failed")
LARGEST_BATCH_SIZE = 1024


@dataclass(frozen=True)
class BuildReport:
    """The models that were published, and why the others were not."""

    built: tuple[BuiltModel, ...]
    failed: dict[str, TritongenError]


def build(
    models: str | Iterable[str] = "all",
    *,
    precision: str = "fp16",
    gpus: Iterable[str] = ("v100", "t4"),
    output: str | Path = "model_repository",
    seed: int = 0,
    max_batch_size: int = 8,
    on_step: OnStep = lambda _network, _step: None,
) -> BuildReport:
    """Build models into the repository `output`, one after the other; one that fails does not stop the rest.

    Args:
        models: names, glob patterns, or "all".
        precision: "fp16" or "fp32", which variant `config.pbtxt` is.
        gpus: for which GPUs `configs/<gpu>-fp16.pbtxt` and `-fp32.pbtxt` are written.
        output: the repository's folder; it is made where it is missing.
        seed: of the random weights.
        max_batch_size: the largest batch that the server forms.
        on_step: told of every step of every model as it begins, and of its outcome.

    Raises:
        UsageError: a name or value that cannot be used; nothing was written.
        OutputFailed: the disk refused; the models published before are whole.
    """
    chosen = networks.select([models] if isinstance(models, str) else models)
    if not chosen:
        raise BadOption("--models", "", "it names no network", "--models all is every one")
    options = checked_options(precision, gpus, seed, max_batch_size)
    built: list[BuiltModel] = []
    failed: dict[str, TritongenError] = {}
    with repository.staging(Path(output)) as staging:
        for network in chosen:
            try:
                built.append(build_model(network, options, staging, Path(output), on_step))
            except OutputFailed:
                raise  # the next model would meet the same disk
            except TritongenError as error:
                on_step(network, "failed")
                failed[network.name] = error
            else:
                on_step(network, "published")
    return BuildReport(tuple(built), failed)


def build_model(network: Network, options: BuildOptions, staging: Path, output: Path, on_step: OnStep) -> BuiltModel:
    """Make one model and publish it."""
    # torch, onnx and onnxsim are imported here: what is refused above is refused at once.
    with uninterrupted():
        from generator.export import export
        from generator.provenance import provenance
        from generator.render import LABELS, config_text, default_config, target_configs
        from generator.simplify import simplify
        from generator.verify import verify
        from generator.weights.random import random_network

    repository.check_replaceable(output.resolve() / network.name)
    preprocessing = Preprocessing()

    on_step(network, "weights")
    module, weights = random_network(network, options.seed)

    on_step(network, "export")
    exported = export(network.name, module)

    on_step(network, "simplify")
    simplified = simplify(network.name, exported)
    onnx_bytes = simplified.model.SerializeToString(deterministic=True)

    on_step(network, "verify")
    certificate = verify(network.name, module, onnx_bytes, preprocessing)

    on_step(network, "publish")
    config = default_config(network, weights, preprocessing, options)
    variants = target_configs(network, weights, preprocessing, options)
    files = {
        repository.MODEL_FILE: onnx_bytes,
        repository.CONFIG_FILE: config_text(config).encode(),
        **{f"configs/{name}": config_text(variant).encode() for name, variant in variants.items()},
        LABELS: (image.ASSETS / "imagenet_classes.txt").read_bytes(),
    }
    files[repository.PROVENANCE_FILE] = provenance(
        network=network,
        weights=weights,
        preprocessing=preprocessing,
        options=options,
        exported=exported,
        simplified=simplified,
        certificate=certificate,
        files=files,
    )
    staged = staging / network.name
    repository.write_model(staged, files)
    return BuiltModel(
        network=network,
        weights=weights,
        folder=repository.publish(staged, output),
        size_bytes=len(onnx_bytes),
        nodes=simplified.nodes_after,
        certificate=certificate,
    )


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back: torch's native code aborts the process when its import is interrupted."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def checked_options(precision: str, gpus: Iterable[str], seed: int, max_batch_size: int) -> BuildOptions:
    """The options, each held to what it may be."""
    wanted = precision.lower()
    if wanted not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if not 1 <= max_batch_size <= LARGEST_BATCH_SIZE:
        raise BadOption("--max-batch-size", max_batch_size, f"it must be from 1 to {LARGEST_BATCH_SIZE}")
    if not 0 <= seed < 2**31:
        raise BadOption("--seed", seed, "it must be from 0 to 2147483647")
    names = tuple(dict.fromkeys(targets.find(gpu).name for gpu in gpus))
    return BuildOptions(precision=wanted, gpus=names, seed=seed, max_batch_size=max_batch_size)
