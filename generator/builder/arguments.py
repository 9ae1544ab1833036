"""Check the arguments of build() before anything is written."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from generator import networks
from generator.builder.worker_pool import Limits, memory_budget_bytes
from generator.config import targets
from generator.config.serving import SERVING, Serving, file_layers, in_force, read_file, validated
from generator.config.types import BuildOptions
from generator.errors import BadValue, UnknownName
from generator.graph.types import REWRITES
from generator.networks.types import Network
from generator.types import PRECISIONS
from generator.weights.files import PUBLISHERS, fetch, find, remote

RANDOM = "random"


def chosen_networks(models: str | Network | Iterable[str | Network]) -> tuple[Network, ...]:
    """Return the built-in networks, then the user's; raise UsageError for an unknown or repeated name, or none."""
    models = [models] if isinstance(models, str | Network) else list(models)
    named = networks.select([model for model in models if isinstance(model, str)])
    chosen = (*named, *(model for model in models if isinstance(model, Network)))
    if not chosen:
        raise BadValue("models", "", "no network is named", "`models=all` selects every network")
    names = [network.name for network in chosen]
    for name in names:
        if names.count(name) > 1:
            raise BadValue("name", name, "two networks have this name")
    return chosen


def checked_limits(jobs: int | None, memory_gib: float | None) -> Limits:
    """Return the limits; by default one job per core, and half of the free memory."""
    if jobs is not None and jobs < 1:
        raise BadValue("jobs", jobs, "must be at least 1")
    if memory_gib is not None and not memory_gib > 0:
        raise BadValue("memory_gib", memory_gib, "must be above 0")
    return Limits(jobs or len(os.sched_getaffinity(0)), memory_budget_bytes(memory_gib))


def check_files(chosen: Sequence[Network], labels: Path | None) -> None:
    """Raise BadValue if a named file does not exist, or labels are given for several networks."""
    for network in chosen:
        network.definition.check()
    if labels and len(chosen) > 1:
        raise BadValue("labels", labels, f"needs exactly one network ({len(chosen)} selected)")
    if labels and not labels.exists():
        raise BadValue("labels", labels, "there is no such file")


def weights_source(weights: str | Path, seed: int, chosen: Sequence[Network]) -> Callable[[Network], int | Path]:
    """Return a function that gives the seed or the weights file of a network, or raise BadValue; it may download."""
    if not 0 <= seed < 2**31:
        raise BadValue("seed", seed, "must be from 0 to 2147483647")
    if weights == RANDOM:
        return lambda _: seed
    own = [network.name for network in chosen if network.definition.own_weights]
    if own:
        raise BadValue("weights", weights, f"{own[0]} has weights of its own")
    if weights in PUBLISHERS:
        remotes = {network.name: remote(str(weights), network) for network in chosen}
        return lambda network: fetch(str(weights), remotes[network.name])
    files = find(Path(weights), chosen)
    return lambda network: files[network.name]


def with_serving(
    options: BuildOptions, chosen: Sequence[Network], config: Path | None, given: Serving
) -> dict[str, BuildOptions]:
    """Return the options of each network; serving options of the call override those of the file."""
    call = [("", validated(SERVING, given))]
    known = [network.name for network in (*networks.select(["all"]), *chosen)]
    file = read_file(config, known) if config is not None else None
    layers = {net.name: [*(file_layers(config, file, net.name) if config and file else []), *call] for net in chosen}
    return {name: replace(options, serving=in_force(each, options.gpus)) for name, each in layers.items()}


def checked_options(precision: str, gpus: Iterable[str], tolerance: float, rewrites: Iterable[str]) -> BuildOptions:
    """Check the options that all networks share."""
    lower = precision.lower()
    if lower not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if not 0 < tolerance <= BuildOptions.tolerance:
        raise BadValue("tolerance", tolerance, f"must be above 0 and at most {BuildOptions.tolerance}")
    names = {name.lower() for name in rewrites}
    for name in names - {"all", "none", *REWRITES}:
        raise UnknownName("rewrite", name, (*REWRITES, "all", "none"))
    if "none" in names and len(names) > 1:
        raise BadValue("rewrites", ",".join(sorted(names)), "none cannot be combined with other rewrites")
    gpus = list(gpus)
    if not gpus:
        raise BadValue("gpus", "", "no GPU is named", "`gpus=cpu` writes config.pbtxt only")
    return BuildOptions(
        precision=lower,
        gpus=tuple(dict.fromkeys(target.name for target in map(targets.find, gpus) if target.gpu)),
        tolerance=tolerance,
        rewrites=tuple(name for name in REWRITES if names & {name, "all"}),
    )
