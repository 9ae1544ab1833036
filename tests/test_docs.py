"""The documentation is short, its links work, and its pictures and keys are those of the code."""

import json
import re

import pytest
from chart_structure import drawn, structure
from click.testing import CliRunner
from helpers import ROOT

from generator.cli import cli
from perf import output
from perf.charts.draw import pictures
from perf.runs import store

CHARTS = sorted((ROOT / "docs" / "charts").glob("*.svg"))
(RUN,) = (ROOT / "docs" / "runs").glob("*.jsonl")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")  # mkdocs checks the links inside docs/
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


def keys(record):
    """Return every key of a JSON value; those of `opset`, `versions` and the like are data."""
    if isinstance(record, dict):
        return {*record, *(key for value in record.values() for key in keys(value))}
    return {key for value in record for key in keys(value)} if isinstance(record, list) else set()


@pytest.mark.parametrize("path", CHARTS, ids=lambda path: path.stem)
def test_charts_are_current(path):
    """`make docs` draws each from the stored run, and a page shows it."""
    chart = drawn(store.read(RUN))[path.stem]
    assert structure(path.read_bytes()) == structure(pictures(chart)["svg"])
    assert f"charts/{path.name}" in (ROOT / "docs" / "explanation" / "measuring.md").read_text()


def test_the_stored_run_is_complete():
    """The stored run has all ten networks at every batch size, and the page marks what did not settle."""
    stored = store.read(RUN)
    assert stored.due == ()
    assert len(stored.results) == 30
    assert "failed" not in {result.status for result in stored.results}
    unstable = sum(result.status == "unstable" for result in stored.results)
    assert (ROOT / "docs" / "explanation" / "measuring.md").read_text().count("(unstable)") == unstable
    assert len(CHARTS) == 2


def test_the_readme_is_short():
    """The README has at most 600 words, and names the commands for a demo and the tests."""
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 600
    assert "make demo" in text
    assert "make test" in text


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    """Each relative link of a page outside docs/ names a file."""
    missing = [match[1] for match in LINK.finditer((ROOT / page).read_text()) if not (ROOT / match[1]).is_file()]
    assert missing == []


@pytest.mark.parametrize(
    "arguments",
    [["list", "-m", "dpn68", "--json"], ["list", "--targets", "--json"], ["doctor", "--json"]],
    ids=" ".join,
)
def test_keys_of_commands_are_documented(arguments):
    """Each key that a command prints is in the JSON reference."""
    printed = json.loads(CliRunner().invoke(cli, arguments).stdout)
    assert undocumented(keys(printed) - {"fp16", "fp32"}) == []


def test_keys_of_runs_are_documented():
    """Each key of a stored run, and of its JSON, is in the JSON reference."""
    stored = store.read(RUN)
    lines = [json.loads(line) for line in RUN.read_text().splitlines()]
    printed = output.record(stored, [])
    assert undocumented(keys(lines) | keys(json.loads(json.dumps(printed)))) == []


def undocumented(names):
    """Return the names that the JSON reference does not have in backticks."""
    page = (ROOT / "docs" / "reference" / "json.md").read_text()
    return sorted(name for name in names if f"`{name}`" not in page)
