"""One model and one of its configs before a server: the rules in the server's three stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from generator.checker.findings import Finding
from generator.checker.rules import core_config, ensembles, general_warnings, io_blocks, sequences
from generator.checker.rules.accelerators import accelerators_are_known, accelerators_hurt, on_gpu
from generator.checker.rules.backend_completion import autocompleted
from generator.checker.rules.backends import JUDGED, backend_is_there
from generator.checker.rules.config_text import ConfigText, empty_config, filled, read_config
from generator.checker.rules.core_defaults import filled_in
from generator.checker.rules.ensembles import Loadable
from generator.checker.rules.instance_groups import groups_can_be_placed
from generator.checker.rules.labels import labels_are_there, labels_fit, labels_outside
from generator.checker.rules.line_numbers import line_at
from generator.checker.rules.onnx_model import data_elsewhere, header_of, model_file, tensors_of
from generator.checker.rules.outcomes import Hurts, Refused
from generator.checker.rules.paths import inside
from generator.checker.rules.session_parameters import misspelt, session_settings
from generator.checker.rules.tensors_match import check_io
from generator.checker.rules.versions import versions_to_load
from generator.checker.rules.warmup import data_outside, samples_can_be_asked
from generator.config.targets import DEFAULT_TAG
from generator.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from generator.checker.findings import JudgedFor, Level

    Config = dict[str, Any]
    Run = Callable[[Path, Path, Config], Iterable[Hurts]]

T = TypeVar("T")
POLL, VERSION, LOAD = "poll", "version", "load"


class Sheet:
    """The findings of one config, and whether the server would have said no by now."""

    def __init__(self, repository: Path, folder: Path, file: Path) -> None:
        self.repository = repository
        self.folder = folder
        self.file = file
        self.lines: dict[tuple[str | int, ...], int] = {}
        self.findings: list[Finding] = []
        self.refused = False

    def hold(self, stage: str, rule: Callable[..., T], *arguments: object, about: Path | None = None) -> T | None:
        """Apply a rule; what it gives, or None where it refused. `about` is the file, where it is not the config."""
        try:
            return rule(*arguments)
        except Refused as refused:
            self.refused = True
            # Triton names the kind of error where a model was being loaded.
            sentence = f"{refused.status}: {refused}" if stage == LOAD and refused.status else str(refused)
            line = None if about else refused.line or line_at(self.lines, refused.at)
            self.add("error", rule.__name__, sentence, refused.fix, line, stage=stage, about=about)
            return None

    def warn(self, rule: Callable[..., Iterable[Hurts]], *arguments: object, about: Path | None = None) -> None:
        """Apply a rule that only warns."""
        for hurt in rule(*arguments):
            line = None if about else line_at(self.lines, hurt.at)
            self.add("warning", rule.__name__, hurt.sentence, hurt.fix, line, about=about)

    def add(
        self,
        level: Level,
        rule: str,
        sentence: str,
        fix: str,
        line: int | None,
        *,
        stage: str = "",
        about: Path | None = None,
    ) -> None:
        """Write a finding down."""
        file = (about or self.file).relative_to(self.repository).as_posix()
        rule = rule.replace("_", "-")
        shown = printable(sentence), printable(fix)
        self.findings.append(Finding(level, self.folder.name, file, line, rule, *shown, stage))


def judge(
    repository: Path, folder: Path, file: Path, server: JudgedFor, run: Run | None
) -> tuple[list[Finding], Loadable | None]:
    """The findings on one config of a model, and the model as the server has it, where it comes so far."""
    sheet = Sheet(repository, folder, file)
    config = polled(sheet, folder, file)
    if config is None:
        return sheet.findings, None
    folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    versions = sheet.hold(VERSION, versions_to_load, config, folders) or ()
    sheet.warn(general_warnings.folders_passed_over, folders)
    sheet.warn(general_warnings.configs_not_read, folder)
    if "ensemble_scheduling" in config:
        checked_blocks(sheet, config, server)
    else:
        for version in versions:
            config = loaded(sheet, config, version, server, run)
    return sheet.findings, Loadable(config, () if sheet.refused else versions)


def polled(sheet: Sheet, folder: Path, file: Path) -> Config | None:
    """The config as core reads and completes it, or None where it says no."""
    text = sheet.hold(POLL, read_config, file) if file.exists() else ConfigText(empty_config())
    if text is None:
        return None
    sheet.lines = text.lines
    config = sheet.hold(POLL, filled_in, text.config, folder)
    if config is None:
        return None
    for rule in (*core_config.RULES, *sequences.RULES, *ensembles.RULES):
        sheet.hold(POLL, rule, config, folder.name)
    return None if sheet.refused else config


def loaded(sheet: Sheet, config: Config, version: str, server: JudgedFor, run: Run | None) -> Config:
    """Load one version: the config against itself, against its files and against the model."""
    folder = sheet.folder
    before = len(sheet.findings)
    sheet.hold(LOAD, backend_is_there, config, folder, version)
    if config["backend"] != JUDGED:
        if len(sheet.findings) == before:
            sheet.warn(backend_is_not_judged, config)
        checked_blocks(sheet, config, server)
        return config
    path = sheet.hold(LOAD, model_file, config, folder, version)
    if path is None:
        return config
    if not inside(path, sheet.repository):
        sheet.warn(file_is_elsewhere, path)
        checked_blocks(sheet, config, server)
        return config
    header = sheet.hold(LOAD, header_of, path, folder, server.release, about=path)
    tensors = header and sheet.hold(LOAD, tensors_of, header, about=path)
    if not header or not tensors:
        return config
    sheet.warn(data_elsewhere, path, folder, header, about=path)
    fields = sheet.hold(LOAD, autocompleted, config, *tensors)
    config = filled(config, fields or {})
    if checked_blocks(sheet, config, server) and fields is not None:
        sheet.hold(LOAD, check_io, config, *tensors)
        sheet.hold(LOAD, session_settings, config)
        check_accelerators(sheet, config, server)
        sheet.hold(LOAD, samples_can_be_asked, config, folder)
        sheet.warn(data_outside, config, folder)
        sheet.warn(misspelt, config)
        for rule in general_warnings.RULES:
            sheet.warn(rule, config)
    if run and not sheet.refused:
        sheet.hold(LOAD, warned(sheet, run), path, folder, config)
    return config


def checked_blocks(sheet: Sheet, config: Config, server: JudgedFor) -> bool:
    """The rules of core for a config on its own; whether they let it pass."""
    before = len(sheet.findings)
    for rule in io_blocks.RULES:
        sheet.hold(LOAD, rule, config)
    sheet.hold(LOAD, groups_can_be_placed, config, server.gpus)
    sheet.hold(LOAD, labels_are_there, config, sheet.folder)
    passed = len(sheet.findings) == before
    if passed:
        sheet.warn(labels_outside, config, sheet.folder)
        sheet.warn(labels_fit, config, sheet.folder)
    return passed


def check_accelerators(sheet: Sheet, config: Config, server: JudgedFor) -> None:
    """A GPU server reads the block; a server on the CPU does not, and a typo waits there for the GPU."""
    if on_gpu(config, server.gpus):
        sheet.hold(LOAD, accelerators_are_known, config, server.release)
        sheet.warn(accelerators_hurt, config, server.release)
    elif not server.gpus:
        sheet.warn(gpu_server_would_refuse, config)
        sheet.warn(accelerators_hurt, config, DEFAULT_TAG)


def gpu_server_would_refuse(config: Config) -> Iterable[Hurts]:
    """What is not read on the CPU."""
    try:
        accelerators_are_known(config, DEFAULT_TAG)
    except Refused as refused:
        yield Hurts(f"a GPU server of {DEFAULT_TAG} would refuse it: {refused}", refused.fix, refused.at)


def file_is_elsewhere(path: Path) -> Iterable[Hurts]:
    """A link out of the repository is not followed."""
    yield Hurts(
        f"{path.name} leads out of the repository, and was not read",
        "a container sees the repository only: copy it in",
    )


def backend_is_not_judged(config: Config) -> Iterable[Hurts]:
    """Only ONNX models are held against their configs."""
    yield Hurts(
        f"the backend '{config['backend']}' is not judged: only the config was",
        "`check --server` asks a real server",
        ("backend",),
    )


def warned(sheet: Sheet, run: Run) -> Callable[[Path, Path, Config], None]:
    """A run as a rule that refuses; what it only warns of goes on the sheet."""

    def running(path: Path, folder: Path, config: Config) -> None:
        for hurt in run(path, folder, config):
            sheet.add("warning", "run", hurt.sentence, hurt.fix, line_at(sheet.lines, hurt.at))

    running.__name__ = "run"
    return running
