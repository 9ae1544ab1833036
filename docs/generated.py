"""Parts of the documentation that are generated from the code: one function per part, called by cog."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill


def cli() -> str:
    """Return the help of every command."""
    from click.testing import CliRunner

    from generator.cli import COMMANDS
    from generator.cli import cli as program

    parts = []
    for name in ("", *COMMANDS):
        arguments = [name, "--help"] if name else ["--help"]
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(program, arguments, prog_name="tritongen").output
        parts.append(f"## {f'tritongen {name}'.strip()}\n\n```text\n{shown.rstrip()}\n```")
    return block("\n\n".join(parts))


def serving_options() -> str:
    """Return the table of options that decide a model's configs."""
    from generator.commands.build import command
    from generator.config.types import ServingOptions

    lines = ["| in a file | default | what it does |", "|---|---|---|"]
    for param in command.params:
        if param.name in ServingOptions.__dataclass_fields__:
            default = param.show_default if isinstance(param.show_default, str) else "none"
            default = {"on": "true", "off": "false"}.get(default, default)
            lines.append(f"| `{param.name}` | {default} | {param.help} |")
    return block("\n".join(lines))


def accelerator_parameters() -> str:
    """Return the names of the accelerator's parameters that a user may set."""
    from generator.config.tensorrt_parameters import PARAMETERS

    return block(fill(", ".join(f"`{row.key}`" for row in PARAMETERS if not row.option), 118) + ".")


def targets() -> str:
    """Return the table of GPUs with the images that run on them, and where each fact is from."""
    from generator.config.targets import TARGETS
    from generator.types import PRECISIONS

    lines = [
        "| target | compute capability | memory, GB | FP16 | FP32 | default image | published tables |",
        "|---|---|---|---|---|---|---|",
    ]
    for target in TARGETS:
        windows = " | ".join(str(target.windows.get(precision, "no")) for precision in PRECISIONS)
        memory = " or ".join(map(str, target.memory_gb)) or "-"
        tables = ", ".join(target.published).upper() or "-"
        lines.append(
            f"| {target.name} | {target.compute_capability or '-'} | {memory} | {windows} | "
            f"{target.default_tag} | {tables} |"
        )
    sources = "\n".join(f"- {target.name}: {'; '.join(target.sources)}." for target in TARGETS)
    return block("\n".join(lines) + "\n\nSources:\n\n" + sources.replace(",;", ","))


def plans() -> str:
    """Return the table of how long a point is measured."""
    from perf.runs.types import PLANS

    lines = [
        "| `--profile` | `--measurement` | requests per round | warm-up requests | rounds | at least |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{profile}` | `{name}` | {plan.requests:,} | {plan.warmup_requests} | "
        f"{plan.least_rounds} to {plan.most_rounds} | {plan.least_span_s:.0f} s |"
        for (profile, name), plan in PLANS.items()
    ]
    return block("\n".join(lines))


def latencies() -> str:
    """Return the latency table of the stored run."""
    from perf.runs import store, tables
    from perf.runs.types import COMPUTE

    (path,) = Path("docs/runs").glob("*.jsonl")
    table = tables.latencies(store.read(path), COMPUTE)
    return block(f"{table.heading}:\n\n{table.markdown}\n\n{table.under}")


def plugin() -> str:
    """Return the files of the example plugin."""
    languages = {"pyproject.toml": "toml", "tinynet.py": "python"}
    return block(
        "\n\n".join(
            f"`{name}`:\n\n```{language}\n{Path('examples/plugin', name).read_text().strip()}\n```"
            for name, language in languages.items()
        )
    )


def block(text: str) -> str:
    """Return the text between blank lines, as Markdown wants it."""
    return f"\n{text}\n\n"
