"""The report of a run: what it says, that nothing in it is obeyed, and what it knows of models."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import perf_runs
import pytest
from helpers import ROOT, small_onnx
from report_runs import IMAGE, SCRIPT, disturbed_run, write

from generator.errors import printable
from generator.system.files import digest_of_folder
from perf import request
from perf.charts.choose import run_charts
from perf.html import model_cards
from perf.html.inline_svg import inline
from perf.html.render import html
from perf.runs import compare, store
from perf.runs.metrics import COMPUTE

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, the text, and whether tags close in turn."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(name="page", scope="module")
def _page():
    """Of a run with all that can be."""
    stored = disturbed_run()
    before = dataclasses.replace(stored, run=dataclasses.replace(stored.run, id="20261123T100000Z"))
    comparisons = [compare.with_run(stored, before, COMPUTE)]
    return Page(html(stored, comparisons, before, run_charts(stored, [COMPUTE]), Path("models")))


def test_it_is_one_file(page):
    """Nothing is fetched: every reference is within it."""
    links = [a[key] for _, a in page.elements for key in ("href", "src", "xlink:href", "action", "data") if a.get(key)]
    assert links
    assert all(link.startswith("#") for link in links)
    assert page.all("link") == page.all("img") == page.all("iframe") == []
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert {link[1:] for link in links} <= ids


def test_no_id_is_there_twice(page):
    """Charts of one page have ids of their own."""
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_nothing_in_it_is_obeyed(page):
    """A model named as a script and a reason that is an image are text; the one script is ours, and the policy names it."""
    assert len(page.all("script")) == 1
    assert SCRIPT in page.text
    assert IMAGE in page.text
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert re.fullmatch(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='", policy)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_it_says_what_is_to_be_known_first(page):
    """Random weights, what failed, what did not settle, and that a CPU is no GPU."""
    notes = page.text.partition("Read first")[2].partition("What was measured")[2].partition("What was measured")[0]
    for words in ("Random weights: DenseNet121", "failed: dpn131 fp32 batch 1: perf_analyzer ended with 1",
                  "unstable: densenet121 fp32 batch 8", "nothing here tells how fast a GPU is",
                  "p99 of the 10 requests", "No certificate of DenseNet121"):  # fmt: skip
        assert words in notes


def test_it_has_every_table(page):
    """Four clocks, the parts, the comparison, the certificates and each round, each under its name."""
    tables = page.all("table")
    ids = {attributes.get("id") for attributes in page.all("h3")}
    assert len(tables) == len(ids) == 8
    assert {table["aria-labelledby"] for table in tables} == ids
    for caption in ("Server compute", "Server total", "Client p50", "Client p99", "Parts of a request", "over run",
                    "Certificates", "Every round"):  # fmt: skip
        assert caption in page.text
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    assert "Run 20261123T100000Z is the newest before this one" in page.text


def test_marked_cells_are_marked(page):
    """A figure that did not settle and one that is not there have a class, and say so in words."""
    classes = " ".join(attributes.get("class", "") for attributes in page.all("td"))
    assert "unstable" in classes
    assert "failed" in classes
    assert "(unstable)" in page.text


def test_charts_are_read_aloud(page):
    """Each is an image with a title and its figures in words."""
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(charts) == len(page.all("figure")) >= 10
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert all(set(svg["aria-labelledby"].split()) <= ids for svg in charts)


def test_a_chart_on_a_page_takes_the_page_s_ink():
    """Ids, references and colours are the page's; matplotlib's style sheet, which is of the whole page, is not there."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
        '<metadata/><defs><style>*{}</style><path id="a"/></defs>'
        '<g clip-path="url(#a)" style="fill: #222222; stroke: #cccccc"/><use xlink:href="#a"/></svg>'
    )
    found = inline(drawn, "one", "A <title>", "Words & figures")
    assert "<style" not in found
    assert "metadata" not in found
    assert 'id="one-a"' in found
    assert 'clip-path="url(#one-a)"' in found
    assert 'href="#one-a"' in found
    assert "fill: currentColor; stroke: var(--grid)" in found
    assert "A &lt;title&gt;" in found
    assert "width=" not in found


def test_the_run_before_is_found(tmp_path):
    """The newest of those before, of the same device, that has points in common."""
    now = disturbed_run()
    runs = {
        "20261121T100000Z": {},
        "20261122T100000Z": {},
        "20261123T100000Z": {"points": ()},
        "20261125T100000Z": {},
    }
    for name, changes in runs.items():
        began = f"{name[:4]}-{name[4:6]}-{name[6:8]}T10:00:00Z"
        other = dataclasses.replace(now.run, id=name, began=began, **changes)
        write(tmp_path / "cpu" / f"{name}.jsonl", store.Stored(now.path, other))
    (tmp_path / "cpu" / "20261124T090000Z.jsonl").write_text("damaged\n")
    found = request.previous(tmp_path, now)
    assert found.run.id == "20261122T100000Z"
    elsewhere = dataclasses.replace(
        now, run=dataclasses.replace(now.run, device=dataclasses.replace(now.run.device, label="x"))
    )
    assert request.previous(tmp_path, elsewhere) is None


@pytest.fixture(name="measured")
def _measured(build, tmp_path):
    """A model that was built, and a run of it."""
    build(small_onnx(), name="mynet", output=tmp_path / "models")
    digest = digest_of_folder(tmp_path / "models" / "mynet" / "1")
    found = perf_runs.run(
        {("mynet", "fp32", 1): [9000, 9000, 9000]}, models=("mynet",), repository=str(tmp_path / "models")
    )
    repeats = tuple(
        dataclasses.replace(one, origin=dataclasses.replace(one.origin, model_digest=digest)) for one in found.repeats
    )
    return dataclasses.replace(found, repeats=repeats)


def test_a_model_s_certificate_and_provenance(measured):
    """As the repository has them, where its bytes are those that were measured."""
    (card,) = model_cards.cards(measured, Path(measured.run.request.repository))
    assert card.why == ""
    assert [row[0] for row in card.certificate.rows][:3] == ["1", "4", "8"]
    facts = dict(card.facts)
    assert "torch" in facts["Made by"]
    assert "nodes exported" in facts["Graph"]
    assert float(card.worst) < 1e-4
    page = Page(html(measured, [], None, [], Path(measured.run.request.repository)))
    assert "a batch passes within 0.0001" in page.text


def test_another_model_of_the_name(measured):
    """The certificate of other bytes is not shown."""
    repeats = [
        dataclasses.replace(one, origin=dataclasses.replace(one.origin, model_digest="0" * 64))
        for one in measured.repeats
    ]
    (card,) = model_cards.cards(
        dataclasses.replace(measured, repeats=tuple(repeats)), Path(measured.run.request.repository)
    )
    assert (card.certificate, card.why) == (None, model_cards.OTHER_BYTES)


HOSTILE = {
    "no JSON": "{",
    "not an object": "[]",
    "empty": "{}",
    "null": "null",
    "hashes that are none": '{"blake3": 3}',
    "no text": b"\xff\xfe",
    "nested without end": "[" * 100_000,
    "large": " " * (1 << 22) + "{}",
}


def test_a_model_that_was_changed(measured, tmp_path):
    """A file that is not the one that was measured has no certificate, whatever its provenance says."""
    with (tmp_path / "models" / "mynet" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    (card,) = model_cards.cards(measured, tmp_path / "models")
    assert (card.certificate, card.why) == (None, model_cards.OTHER_BYTES)


def test_a_name_that_leaves_the_repository(measured, tmp_path):
    """A run's file may come from anywhere: no provenance beside the repository is read for it."""
    (tmp_path / "models" / "inner").mkdir()
    run = dataclasses.replace(
        measured.run,
        models=(dataclasses.replace(measured.run.models[0], name="../mynet"),),
    )
    repeats = [dataclasses.replace(r, point=dataclasses.replace(r.point, model="../mynet")) for r in measured.repeats]
    (card,) = model_cards.cards(
        dataclasses.replace(measured, run=run, repeats=tuple(repeats)), tmp_path / "models" / "inner"
    )
    assert (card.certificate, card.why) == (None, model_cards.NOT_AT_HAND)


def test_a_server_whose_files_are_elsewhere(measured):
    """Which bytes it served is not known, and no certificate is claimed."""
    repeats = [
        dataclasses.replace(r, origin=dataclasses.replace(r.origin, model_digest=None)) for r in measured.repeats
    ]
    (card,) = model_cards.cards(
        dataclasses.replace(measured, repeats=tuple(repeats)), Path(measured.run.request.repository)
    )
    assert (card.certificate, card.why) == (None, model_cards.NOT_KNOWN)


@pytest.mark.parametrize("case", HOSTILE)
def test_provenance_that_is_none(measured, tmp_path, case):
    """The report is written all the same, and says why there is no certificate."""
    content = HOSTILE[case]
    path = tmp_path / "models" / "mynet" / "provenance.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (card,) = model_cards.cards(measured, Path(measured.run.request.repository))
    assert card.why == "its provenance.json is not one that this tritongen writes"
    path.unlink()
    (card,) = model_cards.cards(measured, Path(measured.run.request.repository))
    assert card.why == model_cards.NOT_AT_HAND


def test_half_a_certificate(measured, tmp_path):
    """A field that is missing is no traceback."""
    path = tmp_path / "models" / "mynet" / "provenance.json"
    record = json.loads(path.read_text())
    for key in ("graph", "versions", "certificate"):
        path.write_text(json.dumps({name: value for name, value in record.items() if name != key}))
        (card,) = model_cards.cards(measured, Path(measured.run.request.repository))
        assert card.why == "its provenance.json is not one that this tritongen writes"


def luminance(colour):
    """Relative, of `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_stands_out(scheme):
    """4.5 to 1 on what is behind it, in each scheme (WCAG 2.2, 1.4.3)."""
    block = re.findall(r":root \{([^}]+)\}", (ROOT / "templates" / "report.css").read_text())[scheme]
    colour = dict(re.findall(r"--(\w+): (#\w{6});", block))
    for text in ("ink", "quiet", "link", "bad", "good"):
        for behind in ("paper", "band"):
            dark, light = sorted((luminance(colour[text]), luminance(colour[behind])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)


def test_a_name_that_cannot_be_printed():
    """No control character reaches a page or a terminal."""
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"
