"""Rounds: which are due, what they come to, and how they are kept."""

import dataclasses
import json
import os

import pytest
from perf_runs import repeat, report, run

from generator.errors import RunUnreadable, TritongenError, UnknownName, UsageError
from perf.command import marked
from perf.runs import points, store
from perf.runs.types import COMPUTE, LATENCY, METRICS, PARTS, PLANS, PerfPoint, Session

PLAN = PLANS["production", "quick"]
ONE, TWO = PerfPoint("one", "fp32", 1), PerfPoint("two", "fp32", 8)


def rounds(point, *figures):
    """A round a figure."""
    return [repeat(point, number, figure) for number, figure in enumerate(figures, 1)]


def due(wanted, repeats):
    """The point that is measured next."""
    found = points.next_due(points.results(wanted, repeats, PLAN), PLAN)
    return found and found.point


def test_metrics_are_labelled_and_apart():
    """Server compute, server total, client p50 and p99 are four numbers; the parts are the mean."""
    row = report(35000)
    assert {metric.name: metric.value_us(row) for metric in METRICS} == {
        "compute": 35000, "server": 36300, "p50": 37300, "p99": 37600,
    }  # fmt: skip
    assert sum(part.value_us(row) for part in PARTS) == LATENCY.value_us(row)


@pytest.mark.parametrize(
    ("figures", "status", "value"),
    [
        ((30000, 30500, 31000), "ok", 30500),  # the middle one
        ((60000, 30000, 61000, 30500, 31000), "ok", 30500),  # slow spells are not in it
        ((30000, 31000, 32500), "unstable", 31000),  # 7 % apart
        ((30000, 40000, 50000), "unstable", 40000),
        ((30000, 30100), "unstable", 30100),  # two rounds show nothing
    ],
)
def test_what_rounds_come_to(figures, status, value):
    """The three fastest must agree; the middle one of them is the figure."""
    found = points.result(ONE, rounds(ONE, *figures), PLAN)
    assert (found.status, found.value_us(COMPUTE)) == (status, value)
    assert found.status == "ok" or found.reason


def test_a_round_that_failed_marks_the_point():
    """A failed round marks its point with the reason and without a value; no more rounds are measured."""
    repeats = [*rounds(ONE, 30000), repeat(ONE, 2, status="failed", reason="perf_analyzer ended with 99: no")]
    found = points.result(ONE, repeats, PLAN)
    assert (found.status, found.reason) == ("failed", "perf_analyzer ended with 99: no")
    assert (found.value_us(COMPUTE), found.kept, found.spread) == (None, (), None)
    assert due([ONE], repeats) is None


def test_rounds_visit_every_point_before_the_next():
    """Points with the fewest rounds are due; a point is left when it settles or has had its rounds."""
    assert due([ONE, TWO], []) == ONE
    assert due([ONE, TWO], rounds(ONE, 30000)) == TWO
    settled = rounds(ONE, 30000, 30100, 30200)
    at_once = [dataclasses.replace(found, at="2026-11-24T10:00:00Z") for found in settled]
    assert due([ONE], at_once) == ONE  # a slow spell would agree with itself
    assert due([ONE, TWO], [*settled, *rounds(TWO, 30000, 40000, 50000)]) == TWO
    assert due([ONE, TWO], [*settled, *rounds(TWO, *range(30000, 70000, 5000))]) is None


FIGURES = {("densenet121", "fp32", 1): [30000, 30100, 30200], ("mynet", "fp32", 8): [50000]}


def kept(tmp_path, stored=None):
    """A run as it stands on the disk."""
    stored = stored or run(FIGURES)
    begun = store.begin(tmp_path, stored.run)
    with store.writing(begun.path) as writer:
        for found in (*stored.repeats, *stored.sessions):
            writer.add(found)
        return writer.stored


def test_a_run_is_read_as_it_was_written(tmp_path):
    """Every value of it; a line a round, all columns in µs, what made it beside."""
    stored = kept(tmp_path)
    assert stored.path == tmp_path / "cpu" / "20261124T100000Z.jsonl"
    assert store.read(stored.path) == stored
    lines = [json.loads(line) for line in stored.path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["run", "round", "round", "round", "round", "session"]
    assert lines[1]["report"]["compute_infer_us"] == 30000
    assert {"device", "versions", "model_digest", "config_sha256"} <= set(lines[1]["origin"])
    assert lines[1]["command"][0] == "perf_analyzer"


def test_a_kill_at_any_byte(tmp_path):
    """Whatever was written of the last line, all before it counts, and the run goes on with nothing doubled."""
    stored = kept(tmp_path)
    whole = stored.path.read_bytes()
    first = whole.index(b"\n") + 1  # the first line appears whole
    ends = [place for place in range(first, len(whole) + 1) if whole[place - 1 : place] == b"\n"]
    for size in range(first, len(whole)):
        stored.path.write_bytes(whole[:size])
        before = sum(end <= size for end in ends) - 1
        found = store.read(stored.path)
        assert (*found.repeats, *found.sessions) == (*stored.repeats, *stored.sessions)[:before]
        if size % 97 == 0:
            with store.writing(stored.path) as writer:
                for entry in (*stored.repeats, *stored.sessions)[before:]:
                    writer.add(entry)
            assert stored.path.read_bytes() == whole


def test_two_cannot_add_to_a_run(tmp_path):
    """The second is told, and the file stays as it is."""
    stored = kept(tmp_path)
    told = pytest.raises(TritongenError, match="is being measured by another tritongen")
    with store.writing(stored.path), told, store.writing(stored.path):
        pytest.fail("both write")
    assert store.read(stored.path) == stored


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its first line is not a run"),
        ("{}\n", "line 1 was not written by tritongen"),
        ("[]\n", "line 1 was not written by tritongen"),
        ("3\n", "line 1 was not written by tritongen"),
        ('{"kind": "elephant"}\n', "line 1 was not written by tritongen"),
        ("[" * 100000 + "\n", "line 1 was not written by tritongen"),
        ("{run}{run}", "line 2 starts a second run"),
        ("{run}{other}", "line 2 measures other fp32 batch 1, which is not a point of the run"),
        ("{run}{text}", "line 2 was not written by tritongen"),
        ("{round}", "its first line is not a run"),
    ],
)
def test_a_file_that_is_no_run(tmp_path, text, why):
    """One sentence; the line is named."""
    stored = run(FIGURES)
    lines = {
        "{run}": store.line("run", stored.run),
        "{round}": store.line("round", stored.repeats[0]),
        "{other}": store.line("round", repeat(PerfPoint("other", "fp32", 1))),
        "{text}": store.line("round", stored.repeats[0]).replace("30000", '"thirty"'),
    }
    for mark, line in lines.items():
        text = text.replace(mark, line)
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(RunUnreadable, match=why):
        store.read(path)


def test_runs_are_found_by_name(tmp_path):
    """The newest as `last`; a second run of the same second has a name of its own."""
    first, second = kept(tmp_path), kept(tmp_path)
    assert second.run.id == "20261124T100000Z-2"
    assert store.find(tmp_path, "last") == second.path
    assert store.find(tmp_path, first.run.id) == first.path
    assert store.find(tmp_path, f"cpu/{first.run.id}") == first.path
    assert store.find(tmp_path / "none", str(first.path)) == first.path
    with pytest.raises(UnknownName, match=r"there is no run in .* named 'nope'"):
        store.find(tmp_path, "nope")
    with pytest.raises(UsageError, match=r"there is no run in .*empty yet"):
        store.find(tmp_path / "empty", "last")


def test_where_no_run_can_be_kept(tmp_path):
    """Said before anything is measured; nothing is made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TritongenError, match=r"cannot write .*file/results: not a directory"):
        store.check_writable(tmp_path / "file" / "results")
    store.check_writable(tmp_path / "new" / "results")
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    """Rounds written before stay; the error names the file."""
    stored = kept(tmp_path)
    monkeypatch.setattr(os, "write", lambda _descriptor, text: len(text) - 1)
    with pytest.raises(TritongenError, match="no space left on device"), store.writing(stored.path) as writer:
        writer.add(Session("2026-11-24T10:00:00Z", 1.0, 1.0, 1.0, 0.0))
    monkeypatch.undo()
    assert store.read(stored.path) == stored


@pytest.mark.parametrize(
    ("rounds_ms", "advice"),
    [
        ((30, 40, 50), "--resume measures more rounds"),
        (
            (30, 40, 50, 60, 70, 80, 90, 99),
            "they have had all their rounds; a new run on a less busy machine may settle them",
        ),
    ],
)
def test_advice_for_points_that_did_not_settle(caplog, rounds_ms, advice):
    """Resuming is the advice only while rounds are due."""
    stored = run({("mynet", "fp32", 8): [1000 * value for value in rounds_ms]})
    assert marked([stored], strict=False) == 0
    assert caplog.messages == [f"1 of 1 points did not settle and are marked as unstable: {advice}"]
