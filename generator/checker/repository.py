"""check(): what a server will say to a repository, without one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from generator.checker.findings import Finding, JudgedFor
from generator.checker.model import LOAD, POLL, Sheet, file_is_elsewhere, judge
from generator.checker.rules.accelerators import gpu_accelerators
from generator.checker.rules.ensembles import models_agree
from generator.checker.rules.paths import inside
from generator.config import targets
from generator.repository.layout import CONFIG_FILE
from generator.repository.s3.url import S3Url, location
from generator.repository.source import check_models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from generator.checker.model import Run
    from generator.checker.rules.ensembles import Loadable

VARIANTS = "configs"
DEVICE_PASSED_ON_SINCE = "25.04"


@dataclass(frozen=True)
class Checked:
    """A repository with so many models, and what was found."""

    models: int
    findings: tuple[Finding, ...]


def check(
    repository: str | Path | S3Url = "model_repository",
    *,
    gpu: str = "cpu",
    release: str | None = None,
    run: bool = False,
) -> tuple[Finding, ...]:
    """Judge a repository as a Triton with the C++ onnxruntime backend would.

    Nothing is executed without `run`, weights are not read, and nothing outside the repository is opened.

    Args:
        repository: the model repository: a folder, or `s3://bucket/prefix`, of which the weights are not fetched
            without `run`.
        gpu: what the server runs on: a target's name.
        release: of Triton, `yy.mm`; the target's default where none is given.
        run: load each model in ONNX Runtime on the CPU, and run its warm-up samples and its largest batch, 8 at most.

    Raises:
        UsageError: an unknown GPU, or no release.
        RepositoryNotFound: no such folder.
        StorageFailed: S3 cannot be read.
    """
    return checked(location(repository, "repository"), gpu=gpu, release=release, run=run).findings


def checked(named: Path | S3Url, *, gpu: str, release: str | None, run: bool) -> Checked:
    """The same, with how many models there are."""
    server = judged_for(gpu, release)
    with looked_into(named, run=run) as folder:
        check_models(folder, named)
        models = sum(entry.is_dir() for entry in folder.iterdir())
        findings = check_folder(folder, server, runs() if run else None)
    if isinstance(named, S3Url):
        findings = tuple(replace(found, message=found.message.replace(str(folder), str(named))) for found in findings)
    return Checked(models, findings)


@contextmanager
def looked_into(named: Path | S3Url, *, run: bool) -> Iterator[Path]:
    """The folder of a repository; one in S3 for as long as it is looked into."""
    if isinstance(named, Path):
        yield named
        return
    from generator.repository.s3.mirror import mirrored

    with mirrored(named, "everything" if run else "headers") as folder:
        yield folder


def check_folder(repository: Path, server: JudgedFor, runner: Run | None) -> tuple[Finding, ...]:
    """The findings on a folder."""
    findings = [*image_is_outside(server)]
    models: dict[str, Loadable] = {}
    for entry in sorted(repository.iterdir()):
        findings += check_entry(repository, entry, server, runner, models)
    if any(gpu_accelerators(model.config) for model in models.values()):
        findings += first_gpu_only(server)
    for name, model in models.items():
        sheet = Sheet(repository, repository / name, repository / name / CONFIG_FILE)
        sheet.hold(LOAD, models_agree, model.config, models)
        findings += sheet.findings
    return tuple(dict.fromkeys(findings))


def check_entry(
    repository: Path, entry: Path, server: JudgedFor, run: Run | None, models: dict[str, Loadable]
) -> list[Finding]:
    """The findings on one name in the repository: Triton takes every folder for a model, and stops at a broken link."""
    if entry.is_symlink() and not entry.exists():
        return [broken_link(repository, entry)]
    if not entry.is_dir():
        return []
    if not inside(entry, repository):
        return [elsewhere(repository, entry)]
    try:
        return list(check_model(repository, entry, server, run, models))
    except OSError as error:
        return [unreadable(entry, error)]


def check_model(
    repository: Path, folder: Path, server: JudgedFor, run: Run | None, models: dict[str, Loadable]
) -> Iterator[Finding]:
    """The findings on `config.pbtxt`, and on each variant for its own GPU; only the first is run."""
    for file in configs_of(folder):
        default = file.parent == folder
        if file.is_symlink() and not file.exists():
            yield broken_link(repository, file)
            continue
        if not inside(file, repository):
            yield elsewhere(repository, file)
            continue
        findings, model = judge(
            repository, folder, file, server if default else variants_server(file, server), run if default else None
        )
        yield from findings
        if default and model is not None:
            models[folder.name] = model


def configs_of(folder: Path) -> list[Path]:
    """`config.pbtxt`, whether it is there or not, and the variants."""
    variants = folder / VARIANTS
    listed = sorted(variants.iterdir()) if variants.is_dir() else []
    return [folder / CONFIG_FILE, *(path for path in listed if path.suffix == ".pbtxt")]


def judged_for(gpu: str, release: str | None) -> JudgedFor:
    """The server of a target; its default image where no release is named."""
    target = targets.find(gpu)
    if release is not None:
        targets.check_release(release, "release")
    return JudgedFor(target, release or target.default_tag)


def variants_server(file: Path, server: JudgedFor) -> JudgedFor:
    """A variant named after a GPU is for that GPU and its default image; any other for the given server."""
    for target in targets.GPUS:
        if file.name.startswith(f"{target.name}-"):
            return JudgedFor(target, target.default_tag)
    return server


def image_is_outside(server: JudgedFor) -> Iterator[Finding]:
    """An image that cannot run any precision on the GPU; a CPU runs every image."""
    windows = server.target.windows.values() if server.target.gpu else ()
    if not windows:
        return
    for window in windows:
        if window.first <= server.release <= (window.last or server.release):
            return
    window = next(iter(windows))
    early = server.release < window.first
    yield Finding(
        "error", "", "", None, "image-is-outside",
        f"release {server.release} does not run on a {server.target.title}: "
        f"{window.why_not_before if early else window.why_not_after}",
        f"use {window.first if early else window.last}", POLL,
    )  # fmt: skip


def first_gpu_only(server: JudgedFor) -> Iterator[Finding]:
    """TensorRT was not told its device before (onnxruntime_backend #299)."""
    if server.target.gpu and server.release < DEVICE_PASSED_ON_SINCE:
        yield Finding(
            "warning", "", "", None, "first-gpu-only",
            f"before {DEVICE_PASSED_ON_SINCE} TensorRT runs on the host's first GPU, whatever the instance group says",
            "where the host has several GPUs, one container a GPU, with --gpus device=N",
        )  # fmt: skip


def broken_link(repository: Path, path: Path) -> Finding:
    """Triton stops at it."""
    file = path.relative_to(repository)
    return Finding(
        "error", file.parts[0], file.as_posix(), None, "broken-link",
        f"failed to stat file {path}", "remove the link", POLL,
    )  # fmt: skip


def unreadable(path: Path, error: OSError) -> Finding:
    """A folder or file that this user may not read."""
    what = f"{error.filename or path}: {(error.strerror or str(error)).lower()}"
    return Finding("error", path.name, path.name, None, "unreadable", what, "make it readable", POLL)


def elsewhere(repository: Path, path: Path) -> Finding:
    """A model or a config that is linked from outside."""
    file, (hurt,) = path.relative_to(repository), file_is_elsewhere(path)
    return Finding("warning", file.parts[0], file.as_posix(), None, "file-is-elsewhere", hurt.sentence, hurt.fix)


def runs() -> Run:
    """What loads and runs a model; ONNX Runtime is imported for it only."""
    from generator.checker.run_model import run_model

    return run_model
