"""One config of one model, checked in the server's three stages: poll, version, load."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from generator.checker import findings
from generator.checker.findings import ERROR, LOAD, POLL, VERSION, WARNING, AssumedServer, Finding, Level
from generator.checker.rules.accelerators import accelerator_rows, accelerator_warnings, on_gpu
from generator.checker.rules.backends import CHECKED, backend_rows, completed
from generator.checker.rules.basics import Caution, Config, Place, Refusal, Row, cautions, refuse
from generator.checker.rules.config_text import line_at, read_config, with_fields
from generator.checker.rules.core_blocks import block_rules
from generator.checker.rules.core_config import config_rules, config_warnings
from generator.checker.rules.ensembles import Loadable, ensemble_rules
from generator.checker.rules.folder import (
    check_labels,
    ignored_configs,
    inside,
    label_counts,
    labels_outside,
    skipped_folders,
    versions_to_load,
)
from generator.checker.rules.onnx_model import checked_header, external_outside, model_file, model_tensors
from generator.checker.rules.session_parameters import misspelt_parameters, session_settings
from generator.checker.rules.tensors import autocompleted, check_io
from generator.checker.rules.warmup import data_outside, sample_rows
from generator.config.targets import DEFAULT_TAG
from generator.errors import printable

T = TypeVar("T")


@dataclass
class Sheet:
    """The findings on one config of the model in a folder; `refused` is True once the server would have refused it."""

    folder: Path
    file: Path
    lines: dict[Place, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    refused: bool = False

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

    def apply_all(self, stage: str, rules: Mapping[str, Iterable[Row]]) -> None:
        """Apply rules that are rows, by the rule's id."""
        for rule, rows in rules.items():
            self.apply(stage, rule, refuse, rows)

    def warn(self, rule: str, warnings: Iterable[Caution], about: Path | None = None) -> None:
        """Add the warnings of a rule."""
        for caution in warnings:
            self.add(WARNING, rule, caution.sentence, caution.fix, line_at(self.lines, caution.at), "", about)

    def add(
        self, level: Level, rule: str, sentence: str, fix: str, line: int | None, stage: str, about: Path | None
    ) -> None:
        """Add a finding; text from files is made printable."""
        file = (about or self.file).relative_to(self.folder.parent).as_posix()
        shown = printable(sentence), printable(fix)
        self.findings.append(Finding(level, self.folder.name, file, None if about else line, rule, *shown, stage))


def check_config(
    folder: Path, file: Path, server: AssumedServer, *, run: bool
) -> tuple[list[Finding], Loadable | None]:
    """Return the findings on one config of a model, and the model as the server has it, or None if the poll fails."""
    sheet = Sheet(folder, file)
    config = poll(sheet)
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
            config = load(sheet, config, version, server, run=run)
    return sheet.findings, Loadable(config, () if sheet.refused else versions)


def poll(sheet: Sheet) -> Config | None:
    """Return the config as core reads and completes it, or None if core refuses it."""
    text = sheet.apply(POLL, "read-config", read_config, sheet.file)
    if text is None:
        return None
    read, sheet.lines = text
    config = sheet.apply(POLL, "filled-in", completed, read, sheet.folder)
    if config is None:
        return None
    sheet.apply_all(POLL, config_rules(config, sheet.folder.name))
    sheet.apply_all(POLL, ensemble_rules(config))
    return None if sheet.refused else config


def load(sheet: Sheet, config: Config, version: str, server: AssumedServer, *, run: bool) -> Config:
    """Check one version: the config on its own, with its files, and with the model; return the completed config."""
    folder, before = sheet.folder, len(sheet.findings)
    sheet.apply(LOAD, "backend-is-there", refuse, backend_rows(config, folder, version))
    if config["backend"] != CHECKED:
        if len(sheet.findings) == before:
            sentence = f"the backend '{config['backend']}' is not supported: only the config was checked"
            caution = Caution(sentence, "ask a real server about the model", ("backend",))
            sheet.warn(findings.BACKEND_UNCHECKED, [caution])
        check_blocks(sheet, config, server)
        return config
    path = sheet.apply(LOAD, "model-file", model_file, config, folder, version)
    if path is None:
        return config
    if not inside(path, folder.parent):
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
        sheet.apply(LOAD, "samples-can-be-asked", refuse, sample_rows(config, folder))
        sheet.warn(findings.DATA_OUTSIDE, data_outside(config, folder))
        sheet.warn("misspelt", misspelt_parameters(config))
        for rule, rows in config_warnings(config).items():
            sheet.warn(rule, cautions(rows))
    if run and not sheet.refused:
        from generator.checker.run_model import run_model

        sheet.apply(LOAD, "run", lambda: sheet.warn("run", run_model(path, folder, config)))
    return config


def check_blocks(sheet: Sheet, config: Config, server: AssumedServer) -> bool:
    """Apply core's rules for the blocks of a config and its labels; return True if they pass."""
    before = len(sheet.findings)
    sheet.apply_all(LOAD, block_rules(config, server.gpus))
    sheet.apply(LOAD, "labels-are-there", check_labels, config, sheet.folder)
    passed = len(sheet.findings) == before
    if passed:
        sheet.warn(findings.LABELS_OUTSIDE, labels_outside(config, sheet.folder))
        sheet.warn("labels-fit", label_counts(config, sheet.folder))
    return passed


def check_gpu_accelerators(sheet: Sheet, config: Config, server: AssumedServer) -> None:
    """Check the accelerators for a GPU server; for a CPU server, which does not read them, warn of errors."""
    if on_gpu(config, server.gpus):
        sheet.apply(LOAD, "accelerators-are-known", refuse, accelerator_rows(config, server.release))
        sheet.warn("accelerators-hurt", cautions(accelerator_warnings(config, server.release)))
    elif not server.gpus:
        first = cautions(accelerator_rows(config, DEFAULT_TAG))[:1]
        would = f"a GPU server of {DEFAULT_TAG} would refuse it: "
        sheet.warn(
            "gpu-server-would-refuse", [caution._replace(sentence=would + caution.sentence) for caution in first]
        )
        sheet.warn("accelerators-hurt", cautions(accelerator_warnings(config, DEFAULT_TAG)))


def outside_file(path: Path) -> Caution:
    """Return the warning about a link out of the repository."""
    return Caution(
        f"{path.name} leads out of the repository, and was not read",
        "copy it into the repository: a container sees nothing else",
    )
