"""Charts: their content against golden files, the placement of labels, and colours for colour-blind readers."""

import dataclasses
import itertools
import json
import random

import matplotlib as mpl
import perf_runs
import pytest
from chart_structure import GOLDEN, TEN, drawn, structure, v100_run
from matplotlib.text import Text

from generator.networks import NETWORKS
from perf.charts import content, draw
from perf.charts.content import published_charts, run_charts
from perf.charts.draw import spread
from perf.charts.types import FAMILIES, PART_STYLES, Bars, Mark, NotDrawn, Points, Series, description
from perf.runs import tables
from perf.runs.types import Device

CHARTS = drawn(v100_run())


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_chart_matches_its_golden_file(name):
    """Texts, marks, lines and bars do not depend on the font."""
    assert structure(draw.pictures(CHARTS[name])["svg"]) == json.loads((GOLDEN / f"{name}.json").read_text())


def test_every_chart_has_a_golden_file():
    """The run of the tests has no chart without a golden file."""
    assert sorted(CHARTS) == sorted(path.stem for path in GOLDEN.glob("*.json"))


def test_chart_values_come_from_the_run():
    """Marks equal the run's latency and the published accuracy, checked without golden files."""
    chart = CHARTS["top1-latency-batch-4-fp32"]
    shown = {mark.label: (mark.x, mark.y) for series in chart.series for mark in series.marks}
    published = {p.model: float(ms) for p, ms in tables.published_ms("v100").items() if p.batch_size == 4}
    for network in NETWORKS:
        if network.name != "dpn92":  # which is unstable
            assert shown[network.title] == (
                pytest.approx(published[network.name] * 1.25, abs=1e-3),
                network.published.top1,
            )
    pairs = {mark.label: (mark.x, mark.y) for s in CHARTS["measured-published-v100-fp32"].series for mark in s.marks}
    assert pairs["DPN131"][1] / pairs["DPN131"][0] == pytest.approx(1.25, abs=1e-3)
    assert "mynet" not in pairs


def test_a_chart_has_the_lowest_concurrency():
    """A run at several concurrencies is drawn at the lowest, and says so."""
    figures = {(model, "fp32", 4, concurrency): [25000 * concurrency + more for more in (0, 100, 200)]
               for model in ("densenet121", "dpn68") for concurrency in (4, 2)}  # fmt: skip
    chart = drawn(perf_runs.run(figures, models=("densenet121", "dpn68")))["top1-latency-batch-4-fp32"]
    assert [mark.x for series in chart.series for mark in series.marks] == [50.1, 50.1]
    assert "concurrency 2 (of 4, 2)" in chart.about


def test_counted_and_published_costs_are_distinguished():
    """DPN68 has 4.65 GFLOPs counted and 4.03 published; the axis of each chart names its source."""
    for name, word, flops in (("top1-flops", "counted", 4.65), ("top1-flops-published", "as published", 4.03)):
        chart = CHARTS[name]
        assert word in chart.x
        (mark,) = (mark for series in chart.series for mark in series.marks if mark.label == "DPN68")
        assert mark.x == pytest.approx(flops, abs=5e-3)
    assert "as published" in CHARTS["top1-params-published"].x


def texts(chart):
    """Return every text of a chart with its box in pixels, the transform of marks to pixels, and the box of the figure."""
    with mpl.rc_context(draw.STYLE):
        figure = draw.figure(chart)
        figure.canvas.draw()
    hidden = {  # ticks beyond the ends of an axis are not drawn
        tick.label1
        for axes in figure.axes
        for ruler in (axes.xaxis, axes.yaxis)
        for tick in ruler.get_major_ticks()
        if not min(ruler.get_view_interval()) <= tick.get_loc() <= max(ruler.get_view_interval())
    }
    boxes = [
        (text.get_text(), Text.get_window_extent(text))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]
    return boxes, figure.axes[0].transData, figure.bbox


def check_no_overlap(chart):
    """Assert that no text covers another text, a mark or the edge."""
    boxes, to_px, whole = texts(chart)
    for (one, box), (other, beside) in itertools.combinations(boxes, 2):
        across = min(box.x1, beside.x1) - max(box.x0, beside.x0)
        down = min(box.y1, beside.y1) - max(box.y0, beside.y0)
        assert across < 0.5 or down < 0.5, f"{chart.name}: {one!r} covers {other!r}"
    for text, box in boxes:
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < whole.x1 + 1 and box.y1 < whole.y1 + 1
        assert inside, f"{chart.name}: {text!r} crosses the edge"
    if isinstance(chart, Bars):
        return
    marks = [(mark, FAMILIES[series.family].size / 3) for series in chart.series for mark in series.marks]
    names = {mark.label for mark, _ in marks if mark.label}
    assert names <= {text for text, _ in boxes}
    for text, box in [(text, box) for text, box in boxes if text in names]:
        for mark, radius in marks:
            x, y = to_px.transform((mark.x, mark.y))
            over = box.x0 - radius < x < box.x1 + radius and box.y0 - radius < y < box.y1 + radius
            assert not over, f"{chart.name}: {text!r} covers {mark}"


@pytest.mark.parametrize("name", sorted(CHARTS))
def test_no_label_overlaps(name):
    """Labels stay apart with the ten networks and one of the user."""
    check_no_overlap(CHARTS[name])


@pytest.mark.parametrize("chart", published_charts(()), ids=lambda chart: chart.name)
def test_no_label_overlaps_in_the_published_charts(chart):
    """Labels stay apart in the charts of the V100 and T4 tables."""
    check_no_overlap(chart)


@pytest.mark.parametrize("seed", range(20))
def test_no_label_overlaps_with_random_latencies(seed):
    """Labels stay apart whether ten models lie within 10 % of each other or orders of magnitude apart."""
    rng = random.Random(seed)  # noqa: S311 (not for security)
    apart = rng.choice([0.03, 0.1, 0.5, 1.0])
    costs = {name: (rng.lognormvariate(3, apart), rng.random() < 0.8) for name in TEN}
    check_no_overlap(content.against("any", "Any", "Made up.", "ms", costs, TEN))
    lines = tuple(
        Series(name, "other", "solid", (Mark(1, ms), Mark(4, ms * 3.5), Mark(8, ms * 6.5, f"{name}-of-ours-{seed}")))
        for name, (ms, _) in costs.items()
    )
    labels = ("Images a request", "ms")
    check_no_overlap(Points("lines", "Any", "Made up.", *labels, lines, log=True, x_ticks=(1, 4, 8), names_at_end=True))


@pytest.mark.parametrize("seed", range(20))
def test_spread(seed):
    """Places keep their order, gap, mean and bounds; a place with enough room does not move."""
    rng = random.Random(seed)  # noqa: S311 (not for security)
    wanted = sorted(rng.uniform(0, 100) for _ in range(rng.randint(1, 12)))
    places = spread(wanted, 10, -100, 200)
    assert all(later - place > 10 - 1e-9 for place, later in itertools.pairwise(places))
    assert sum(places) == pytest.approx(sum(wanted))
    within = spread(wanted, 5, 20, 90)
    assert all(later - place > 5 - 1e-9 for place, later in itertools.pairwise(within))
    assert min(within) >= 20
    assert max(within) <= 90
    assert spread([0, 50, 100], 10, 0, 100) == [0, 50, 100]
    assert spread([10, 10], 10, 0, 100) == [5, 15]
    assert spread([95, 100], 10, 0, 100) == [90, 100]


def test_equal_charts_give_equal_bytes():
    """The files have no date and no random ids."""
    chart = CHARTS["top1-flops"]
    one, other = draw.pictures(chart), draw.pictures(chart)
    assert one == other
    assert b"<dc:date>" not in one["svg"]
    assert one["png"].startswith(b"\x89PNG")


def test_names_are_drawn_literally():
    """A model name is neither mathematics nor markup, and a long one is cut."""
    names = ("a$x^2$b", "<script>alert(1)</script>", "x" * 60)
    figures = {(name, "fp32", size): [1000 * size * n] * 3 for n, name in enumerate(names, 1) for size in (1, 4)}
    charts = drawn(perf_runs.run(figures, models=names))
    svg = draw.pictures(charts["latency-batch-fp32"])["svg"].decode()
    assert "a$x^2$b" in svg
    assert "&lt;script&gt;alert(1)" in svg
    assert "<script" not in svg
    assert f"{'x' * 23}…" in svg
    assert "top1-flops" not in charts


def test_missing_charts_have_a_reason():
    """One batch size gives no line, a network of the user no accuracy, a failed point no bar."""
    run = perf_runs.run({("mynet", "fp32", 1): ("failed", "it crashed")}, models=("mynet",))
    charts = run_charts(run, ["compute"])
    assert all(isinstance(chart, NotDrawn) for chart in charts if "published" not in chart.name)
    whys = {chart.name: chart.why for chart in charts if isinstance(chart, NotDrawn)}
    assert whys["top1-flops"] == "none of the models has a published accuracy"
    assert whys["parts-fp32-batch-1"] == "no such point was measured"
    one_batch = run_charts(perf_runs.run({("dpn92", "fp32", 1): [9, 9, 9]}, models=("dpn92",)), ["compute"])
    whys = {chart.name: chart.why for chart in one_batch if isinstance(chart, NotDrawn)}
    assert whys["latency-batch-fp32"] == "there are no FP32 latencies at two batch sizes"
    assert whys["top1-latency-batch-4-fp32"] == "there is no FP32 latency at batch 4"


def test_cpu_is_compared_with_every_published_table():
    """These charts warn that the devices differ, and have no diagonal."""
    run = dataclasses.replace(v100_run())
    run = dataclasses.replace(run, run=dataclasses.replace(run.run, device=Device("cpu", "a CPU, 2 cores")))
    charts = drawn(run)
    for gpu in ("v100", "t4"):
        chart = charts[f"measured-published-{gpu}-fp32"]
        assert not chart.diagonal
        assert "The devices differ" in chart.about
    assert "top1-latency-batch-4-fp16-published-t4" in charts
    assert CHARTS["measured-published-v100-fp32"].diagonal


def test_each_metric_has_its_own_chart():
    """Charts of different metrics have different labels and are never merged."""
    names = {
        chart.name: chart for chart in run_charts(v100_run(), ["compute", "p99"]) if not isinstance(chart, NotDrawn)
    }
    assert "Client p99" in names["latency-batch-fp32-p99"].y
    assert "Server compute" in names["latency-batch-fp32"].y


def test_description_has_the_values():
    """The text for screen readers has names, values and marks."""
    assert "DPN92 (13, 0.799)" in description(CHARTS["top1-flops"])
    assert "DPN: DPN68 (" in description(CHARTS["top1-flops"])
    assert "unstable" in description(CHARTS["top1-latency-batch-4-fp32"])
    assert "mynet: " in description(CHARTS["parts-fp32-batch-1"])


# Linear RGB as seen by a dichromat: Viénot, Brettel and Mollon (1999), Machado et al. (2009) for tritanopia.
SIMULATED = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def lab(colour, matrix):
    """Return CIE L*a*b* of `#rrggbb` as seen through a matrix of SIMULATED."""
    srgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in srgb]
    r, g, b = (min(1, max(0, sum(m * c for m, c in zip(row, linear, strict=True)))) for row in matrix)
    xyz = (
        0.4124 * r + 0.3576 * g + 0.1805 * b,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        0.0193 * r + 0.1192 * g + 0.9505 * b,
    )
    x, y, z = (
        (v / w) ** (1 / 3) if v / w > 0.008856 else 7.787 * v / w + 16 / 116
        for v, w in zip(xyz, (0.9505, 1.0, 1.089), strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("who", SIMULATED)
def test_colour_blind_readers_can_distinguish(who):
    """Families differ in colour and marker, neighbouring parts in hatch."""
    looks = [style.colour for style in FAMILIES.values()]
    for one, other in itertools.combinations(looks, 2):
        assert (
            sum((a - b) ** 2 for a, b in zip(lab(one, SIMULATED[who]), lab(other, SIMULATED[who]), strict=True)) ** 0.5
            > 20
        )
    assert len({style.marker for style in FAMILIES.values()}) == len(FAMILIES)
    for (_, hatch), (_, beside) in itertools.pairwise(PART_STYLES):
        assert hatch != beside
