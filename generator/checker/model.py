"""One config of one model, checked in the server's three stages: poll, version, load."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from generator.checker import findings
from generator.checker.findings import ERROR, LOAD, POLL, VERSION, WARNING, Finding
from generator.checker.rules import core_blocks, core_config, ensembles
from generator.checker.rules.accelerators import accelerator_warnings, check_accelerators, on_gpu
from generator.checker.rules.backends import CHECKED, check_backend, completed
from generator.checker.rules.config_text import read_config, with_fields
from generator.checker.rules.ensembles import Loadable
from generator.checker.rules.general_warnings import general_warnings
from generator.checker.rules.labels import check_labels, label_counts, labels_outside
from generator.checker.rules.line_numbers import line_at
from generator.checker.rules.onnx_model import checked_header, external_outside, model_file, model_tensors
from generator.checker.rules.outcomes import Caution, Config, Place, Refusal, cautions
from generator.checker.rules.paths import inside
from generator.checker.rules.session_parameters import misspelt_parameters, session_settings
from generator.checker.rules.tensors import autocompleted, check_io
from generator.checker.rules.versions import ignored_configs, skipped_folders, versions_to_load
from generator.checker.rules.warmup import check_samples, data_outside
from generator.config.targets import DEFAULT_TAG
from generator.errors import printable

if TYPE_CHECKING:
    from generator.checker.findings import AssumedServer, Level

    Run = Callable[[Path, Path, Config], Iterable[Caution]]

T = TypeVar("T")


class Sheet:
    """The findings on one config; `refused` is True once the server would have refused it."""

    def __init__(self, repository: Path, folder: Path, file: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.file = file
        self.lines: dict[Place, int] = {}
        self.findings: list[Finding] = []
        self.refused = False

    def apply(
        self, stage: str, rule: str, check: Callable[..., T], *arguments: object, about: Path | None = None
    ) -> T | None:
        """Apply a rule and return its result, or None if it refuses; `about` is the file if it is not the config."""
        try:
            return check(*arguments)
        except Refusal as refusal:
            self.refused = True
            # Triton names the kind of error of a failed load.
            sentence = f"{refusal.status}: {refusal}" if stage == LOAD and refusal.status else str(refusal)
            line = refusal.line or line_at(self.lines, refusal.at)
            self.add(ERROR, rule, sentence, refusal.fix, line, stage, about)
            return None

    def warn(self, rule: str, warnings: Iterable[Caution], about: Path | None = None) -> None:
        """Add the warnings of a rule."""
        for caution in warnings:
            self.add(WARNING, rule, caution.sentence, caution.fix, line_at(self.lines, caution.at), "", about)

    def add(
        self, level: Level, rule: str, sentence: str, fix: str, line: int | None, stage: str, about: Path | None
    ) -> None:
        """Add a finding; text from files is made printable."""
        file = (about or self.file).relative_to(self.repository).as_posix()
        shown = printable(sentence), printable(fix)
        self.findings.append(Finding(level, self.folder.name, file, None if about else line, rule, *shown, stage))


def check_config(
    repository: Path, folder: Path, file: Path, server: AssumedServer, run: Run | None
) -> tuple[list[Finding], Loadable | None]:
    """Return the findings on one config of a model, and the model as the server has it, or None if the poll fails."""
    sheet = Sheet(repository, folder, file)
    config = poll(sheet, folder, file)
    if config is None:
        return sheet.findings, None
    folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    versions = sheet.apply(VERSION, "versions-to-load", versions_to_load, config, folders) or ()
    sheet.warn("folders-passed-over", skipped_folders(folders))
    sheet.warn("configs-not-read", ignored_configs(folder))
    if "ensemble_scheduling" in config:
        check_blocks(sheet, config, server)
    else:
        for version in versions:
            config = load(sheet, config, version, server, run)
    return sheet.findings, Loadable(config, () if sheet.refused else versions)


def poll(sheet: Sheet, folder: Path, file: Path) -> Config | None:
    """Return the config as core reads and completes it, or None if core refuses it."""
    text = sheet.apply(POLL, "read-config", read_config, file)
    if text is None:
        return None
    sheet.lines = text.lines
    config = sheet.apply(POLL, "filled-in", completed, text.config, folder)
    if config is None:
        return None
    for rule, check in core_config.RULES:
        sheet.apply(POLL, rule, check, config)
    sheet.apply(POLL, "name-is-the-folders", core_config.check_name, config, folder.name)
    for rule, check in ensembles.RULES:
        sheet.apply(POLL, rule, check, config)
    return None if sheet.refused else config


def load(sheet: Sheet, config: Config, version: str, server: AssumedServer, run: Run | None) -> Config:
    """Check one version: the config on its own, with its files, and with the model; return the completed config."""
    folder, before = sheet.folder, len(sheet.findings)
    sheet.apply(LOAD, "backend-is-there", check_backend, config, folder, version)
    if config["backend"] != CHECKED:
        if len(sheet.findings) == before:
            sheet.warn(findings.BACKEND_UNCHECKED, [unchecked_backend(config)])
        check_blocks(sheet, config, server)
        return config
    path = sheet.apply(LOAD, "model-file", model_file, config, folder, version)
    if path is None:
        return config
    if not inside(path, sheet.repository):
        sheet.warn(findings.FILE_OUTSIDE, [outside_file(path)])
        check_blocks(sheet, config, server)
        return config
    header = sheet.apply(LOAD, findings.HEADER, checked_header, path, folder, server.release, about=path)
    tensors = header and sheet.apply(LOAD, "tensors-of", model_tensors, header, about=path)
    if not header or not tensors:
        return config
    sheet.warn("data-elsewhere", external_outside(path, folder, header), about=path)
    fields = sheet.apply(LOAD, "autocompleted", autocompleted, config, *tensors)
    config = with_fields(config, fields or {})
    if check_blocks(sheet, config, server) and fields is not None:
        sheet.apply(LOAD, "check-io", check_io, config, *tensors)
        sheet.apply(LOAD, "session-settings", session_settings, config)
        check_gpu_accelerators(sheet, config, server)
        sheet.apply(LOAD, "samples-can-be-asked", check_samples, config, folder)
        sheet.warn(findings.DATA_OUTSIDE, data_outside(config, folder))
        sheet.warn("misspelt", misspelt_parameters(config))
        for rule, rows in general_warnings(config).items():
            sheet.warn(rule, cautions(*rows))
    if run and not sheet.refused:
        sheet.apply(LOAD, "run", lambda: sheet.warn("run", run(path, folder, config)))
    return config


def check_blocks(sheet: Sheet, config: Config, server: AssumedServer) -> bool:
    """Apply core's rules for the blocks of a config and its labels; return True if they pass."""
    before = len(sheet.findings)
    for rule, check in core_blocks.RULES:
        sheet.apply(LOAD, rule, check, config)
    sheet.apply(LOAD, "groups-can-be-placed", core_blocks.check_instance_groups, config, server.gpus)
    sheet.apply(LOAD, "labels-are-there", check_labels, config, sheet.folder)
    passed = len(sheet.findings) == before
    if passed:
        sheet.warn(findings.LABELS_OUTSIDE, labels_outside(config, sheet.folder))
        sheet.warn("labels-fit", label_counts(config, sheet.folder))
    return passed


def check_gpu_accelerators(sheet: Sheet, config: Config, server: AssumedServer) -> None:
    """Check the accelerators for a GPU server; for a CPU server, which does not read them, warn of errors."""
    if on_gpu(config, server.gpus):
        sheet.apply(LOAD, "accelerators-are-known", check_accelerators, config, server.release)
        sheet.warn("accelerators-hurt", accelerator_warnings(config, server.release))
    elif not server.gpus:
        sheet.warn("gpu-server-would-refuse", gpu_refusals(config))
        sheet.warn("accelerators-hurt", accelerator_warnings(config, DEFAULT_TAG))


def gpu_refusals(config: Config) -> Iterable[Caution]:
    """Warn of accelerators that a GPU server refuses."""
    try:
        check_accelerators(config, DEFAULT_TAG)
    except Refusal as refusal:
        yield Caution(f"a GPU server of {DEFAULT_TAG} would refuse it: {refusal}", refusal.fix, refusal.at)


def outside_file(path: Path) -> Caution:
    """Return the warning about a link out of the repository."""
    return Caution(
        f"{path.name} leads out of the repository, and was not read",
        "copy it into the repository: a container sees nothing else",
    )


def unchecked_backend(config: Config) -> Caution:
    """Return the warning about a model that is not ONNX."""
    return Caution(
        f"the backend '{config['backend']}' is not supported: only the config was checked",
        "ask a real server about the model",
        ("backend",),
    )
