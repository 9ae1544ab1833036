"""Check a repository for the errors that Triton would report, without starting Triton."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from generator.checker.findings import ERROR, FILE_OUTSIDE, LOAD, POLL, WARNING, AssumedServer, Finding
from generator.checker.model import Sheet, check_config, outside_file
from generator.checker.rules.accelerators import gpu_accelerators
from generator.checker.rules.basics import refuse
from generator.checker.rules.ensembles import Loadable, model_rows
from generator.checker.rules.folder import inside
from generator.config import targets
from generator.repository.layout import CONFIG_FILE
from generator.repository.s3.url import S3Url, location
from generator.repository.source import check_models

VARIANTS = "configs"
DEVICE_PASSED_ON_SINCE = "25.04"


@dataclass(frozen=True)
class Checked:
    """The number of models of a repository, and its findings."""

    models: int
    findings: tuple[Finding, ...]


def check(
    repository: str | Path | S3Url = "model_repository",
    *,
    gpu: str = "cpu",
    release: str | None = None,
    run: bool = False,
) -> tuple[Finding, ...]:
    """Check a repository as a Triton with the C++ onnxruntime backend would.

    Nothing is executed without `run`, weights are not read, and nothing outside the repository is opened.

    Args:
        repository: the model repository: a folder, or `s3://bucket/prefix`; without `run` its weights are not fetched.
        gpu: name of the target that the server runs on.
        release: of Triton, `yy.mm`; by default the target's.
        run: load each model in ONNX Runtime on the CPU, and run its warm-up samples and its largest batch, 8 at most.

    Raises:
        UsageError: the GPU or the release is unknown.
        RepositoryNotFound: the folder does not exist, or holds no models.
        StorageFailed: S3 cannot be read.
    """
    return checked(location(repository, "repository"), gpu=gpu, release=release, run=run).findings


def checked(named: Path | S3Url, *, gpu: str, release: str | None, run: bool) -> Checked:
    """Check a repository, and count its models."""
    target = targets.find(gpu)
    if release is not None:
        targets.check_release(release, "release")
    server = AssumedServer(target, release or target.default_tag)
    with nullcontext(named) if isinstance(named, Path) else mirror(named, run=run) as folder:
        check_models(folder, named)
        models = sum(entry.is_dir() for entry in folder.iterdir())
        findings = check_folder(folder, server, run=run)
    if isinstance(named, S3Url):
        findings = tuple(replace(entry, message=entry.message.replace(str(folder), str(named))) for entry in findings)
    return Checked(models, findings)


def mirror(url: S3Url, *, run: bool) -> AbstractContextManager[Path]:
    """Copy a repository in S3 into a temporary folder."""
    from generator.repository.s3.mirror import mirrored

    return mirrored(url, "everything" if run else "headers")


def check_folder(repository: Path, server: AssumedServer, *, run: bool) -> tuple[Finding, ...]:
    """Return the findings on a folder."""
    findings = [*image_outside_window(server)]
    models: dict[str, Loadable] = {}
    for entry in sorted(repository.iterdir()):
        findings += check_entry(entry, server, models, run=run)
    if any(gpu_accelerators(model.config) for model in models.values()):
        findings += first_gpu_only(server)
    for name, model in models.items():
        sheet = Sheet(repository / name, repository / name / CONFIG_FILE)
        sheet.apply(LOAD, "models-agree", refuse, model_rows(model.config, models))
        findings += sheet.findings
    return tuple(dict.fromkeys(findings))


def check_entry(entry: Path, server: AssumedServer, models: dict[str, Loadable], *, run: bool) -> list[Finding]:
    """Return the findings on one entry: every folder is a model for Triton, and a broken link stops it."""
    if not entry.is_dir() and not entry.is_symlink():
        return []
    if finding := link_finding(entry.parent, entry):
        return [finding]
    try:
        return list(check_model(entry, server, models, run=run)) if entry.is_dir() else []
    except OSError as error:
        why = f"{error.filename or entry}: {(error.strerror or str(error)).lower()}"
        return [Finding(ERROR, entry.name, entry.name, None, "unreadable", why, "make it readable", POLL)]


def link_finding(repository: Path, path: Path) -> Finding | None:
    """Return the finding on a link that is broken or leads out of the repository."""
    file = path.relative_to(repository)
    if path.is_symlink() and not path.exists():
        message = f"failed to stat file {path}"
        return Finding(ERROR, file.parts[0], file.as_posix(), None, "broken-link", message, "remove the link", POLL)
    if inside(path, repository):
        return None
    caution = outside_file(path)
    return Finding(WARNING, file.parts[0], file.as_posix(), None, FILE_OUTSIDE, caution.sentence, caution.fix)


def check_model(folder: Path, server: AssumedServer, models: dict[str, Loadable], *, run: bool) -> Iterator[Finding]:
    """Yield the findings on `config.pbtxt`, which may not exist, and on each variant; only `config.pbtxt` is run."""
    variants = folder / VARIANTS
    paths = sorted(path for path in variants.iterdir() if path.suffix == ".pbtxt") if variants.is_dir() else []
    for file in (folder / CONFIG_FILE, *paths):
        if finding := link_finding(folder.parent, file):
            yield finding
        elif file.parent == folder:
            findings, model = check_config(folder, file, server, run=run)
            yield from findings
            if model is not None:
                models[folder.name] = model
        else:
            # A variant that is named after a GPU is checked for the GPU's default image.
            of_gpu = (AssumedServer(t, t.default_tag) for t in targets.GPUS if file.name.startswith(f"{t.name}-"))
            yield from check_config(folder, file, next(of_gpu, server), run=False)[0]


def image_outside_window(server: AssumedServer) -> Iterator[Finding]:
    """Yield an error if the image runs no precision on the GPU; a CPU runs every image."""
    refusals = [window.refusal(server.release) for window in server.target.windows.values() if server.target.gpu]
    for why, nearest in filter(None, refusals[:1] if all(refusals) else []):
        message = f"release {server.release} does not run on a {server.target.title}: {why}"
        yield Finding(ERROR, "", "", None, "image-is-outside", message, f"use {nearest}", POLL)


def first_gpu_only(server: AssumedServer) -> Iterator[Finding]:
    """Warn that older releases do not pass the device on to TensorRT (onnxruntime_backend #299)."""
    if server.target.gpu and server.release < DEVICE_PASSED_ON_SINCE:
        yield Finding(
            WARNING, "", "", None, "first-gpu-only",
            f"before {DEVICE_PASSED_ON_SINCE} TensorRT runs on the host's first GPU, whatever the instance group says",
            "if the host has several GPUs, start one container per GPU, with --gpus device=N",
        )  # fmt: skip
