"""The README's charts are of the run that it names."""

import pytest
from chart_structure import drawn, structure
from helpers import ROOT

from perf.charts.draw import pictures
from perf.runs import store

CHARTS = sorted((ROOT / "docs" / "charts").glob("*.svg"))


@pytest.mark.parametrize("path", CHARTS, ids=lambda path: path.stem)
def test_a_chart_of_the_readme_is_current(path):
    """`make docs` draws it."""
    (run,) = (ROOT / "docs" / "runs").glob("*.jsonl")
    chart = drawn(store.read(run))[path.stem]
    assert structure(path.read_bytes()) == structure(pictures(chart)["svg"])
    assert f"docs/charts/{path.name}" in (ROOT / "README.md").read_text()


def test_the_run_of_the_readme_is_whole():
    """Each of the ten networks at every batch size; what did not settle is marked."""
    (run,) = (ROOT / "docs" / "runs").glob("*.jsonl")
    stored = store.read(run)
    assert stored.due == ()
    assert len(stored.results) == 30
    assert "failed" not in {found.status for found in stored.results}
    unstable = sum(found.status == "unstable" for found in stored.results)
    assert (ROOT / "README.md").read_text().count("(unstable)") == unstable
    assert len(CHARTS) == 2
