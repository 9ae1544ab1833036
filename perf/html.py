"""The report of a run as one HTML file: its tables, its charts, and the facts about its models."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

from generator.builder import provenance
from generator.builder.provenance import Provenance
from generator.errors import printable
from generator.repository.folder import ModelFolder
from generator.repository.layout import PROVENANCE_FILE, VERSION
from generator.system.files import digest_of_digests, digest_of_folder, write_whole
from generator.system.templates import render, template_folder
from generator.verify.certificate import Certificate
from perf import request
from perf.charts.content import run_charts
from perf.charts.draw import bare_svg
from perf.charts.types import GRID, INK, Chart, NotDrawn, description
from perf.runs import compare
from perf.runs import tables as table
from perf.runs.compare import Comparison, hashes
from perf.runs.store import Stored
from perf.runs.tables import Table, title
from perf.runs.types import COMPUTE, LATENCY, METRICS

logger = logging.getLogger(__name__)

NOT_FOUND = "the model is not in the repository"
NOT_KNOWN = "it is not known which files the server served"
OTHER_FILES = "the files in the repository are not those that were measured"
UNREADABLE = f"{PROVENANCE_FILE} was not written by this version of tritongen"
CELL_CLASSES = {" (unstable)": "unstable", "failed": "failed", " slower": "slower", " faster": "faster"}
SVG = "{http://www.w3.org/2000/svg}"
ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def write(
    path: Path, stored: Stored, comparisons: Sequence[Comparison], metric_names: Sequence[str], root: Path,
    repository: Path | None,
) -> None:  # fmt: skip
    """Write the report of a run.

    Without comparisons, the run is compared with the published table of its GPU and the newest earlier run, if there
    are such. Certificates are read from the repository, by default the one that the run names.

    Raises:
        OutputFailed: the file cannot be written.
    """
    previous = None
    if not comparisons:
        previous = request.previous(root, stored)
        others = [None] if table.published_ms(stored.run.device.name) else []
        comparisons = compare.comparisons(stored, [*others, *([previous] if previous else [])], metric_names)
    charts = run_charts(stored, metric_names)
    repository = repository or Path(stored.run.request.repository)
    write_whole(path.resolve(), html(stored, comparisons, previous, charts, repository))
    logger.info("report in %s", path)


def html(
    stored: Stored, comparisons: Sequence[Comparison], previous: Stored | None, charts: Iterable[Chart | NotDrawn],
    repository: Path,
) -> str:  # fmt: skip
    """Return the report of a run as one file.

    `previous` is the earlier run that was compared by default; the certificates are looked for in the repository.
    """
    charts, models = list(charts), cards(stored, repository)
    script = (template_folder() / "report.js").read_text()
    return render(
        "report.html.j2",
        run=stored.run,
        label=printable(stored.run.device.label),
        facts=facts(stored),
        notes=notes(stored, models),
        latencies=table.of_run(stored, [metric.name for metric in METRICS]),
        parts=table.parts(stored),
        caption=table.measured_on(stored),
        drawn=[(chart, inline(bare_svg(chart), chart)) for chart in charts if not isinstance(chart, NotDrawn)],
        missing=[chart for chart in charts if isinstance(chart, NotDrawn)],
        comparisons=[compare.ratios(stored, comparison) for comparison in comparisons],
        previous=previous.run.id if previous else None,
        certificates=certificates(models),
        models=models,
        rounds=rounds(stored),
        cell_class=lambda cell: " ".join(name for mark, name in CELL_CLASSES.items() if mark in cell),
        sizes=table.SIZES[1:],
        style=(template_folder() / "report.css").read_text(),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        tritongen=version("tritongen"),
    )


def inline(drawn: str, chart: Chart) -> str:
    """Return matplotlib's SVG as an element in the colours of the page.

    The ids of its definitions differ between charts; the ids of its groups do not, and are removed. Screen readers read
    the title and the description instead of the chart.
    """
    root = ET.fromstring(drawn)  # noqa: S314 (our own)
    for parent in root.iter():
        for child in [*parent.iterfind(f"{SVG}metadata"), *parent.iterfind(f"{SVG}style")]:
            parent.remove(child)
    for element in root.iter():
        if element.tag == f"{SVG}g":
            element.attrib.pop("id", None)
        if style := element.get("style"):
            element.set("style", style.replace(INK, "currentColor").replace(GRID, "var(--grid)"))
    del root.attrib["width"], root.attrib["height"]
    root.attrib |= {"role": "img", "aria-labelledby": f"{chart.name}-title {chart.name}-desc"}
    for position, (tag, text) in enumerate((("title", chart.title), ("desc", description(chart)))):
        child = ET.Element(f"{SVG}{tag}", {"id": f"{chart.name}-{tag}"})
        child.text = text
        root.insert(position, child)
    return ET.tostring(root, encoding="unicode")


def facts(stored: Stored) -> list[tuple[str, str]]:
    """Return the rows of what was measured, on what and how."""
    run, request = stored.run, stored.run.request
    device, versions = run.device, stored.origins[0].versions if stored.origins else None
    spent_s = sum(session.wall_s for session in stored.sessions)
    sessions = f", in {len(stored.sessions)} sessions" if len(stored.sessions) > 1 else ""
    rows = (
        ("Run", run.id),
        ("When", table.period(stored)),
        ("Device", device.label),
        ("GPU", f"{device.gpu.name}, driver {device.gpu.driver}" if device.gpu else None),
        ("CPU governor", device.governor),
        ("Server", f"{run.server}, Triton {versions.triton}" if versions else run.server),
        ("Image", stored.image_tag),
        ("perf_analyzer", f"{run.analyzer}, {request.protocol}, shared memory: {request.shared_memory}"),
        ("Precision", ", ".join(request.precisions).upper()),
        ("Batch sizes", ", ".join(map(str, request.batch_sizes))),
        ("Concurrency", ", ".join(map(str, request.concurrencies))),
        ("Profile", f"{request.profile}: {table.PROFILES[request.profile]}"),
        ("Measurement", f"{run.plan.name}: {run.plan}; {table.MEDIAN}"),
        ("Time taken", f"{spent_s / 60:.1f} min{sessions}" if stored.sessions else None),
        ("Versions", versions and ", ".join(f"{k} {v}" for k, v in vars(versions).items() if v)),
    )
    return [(name, printable(value)) for name, value in rows if value]


def notes(stored: Stored, models: Iterable[Card]) -> list[str]:
    """Return the warnings that a reader must know before the numbers."""
    run, lines = stored.run, []
    if random := [title(model.name) for model in run.models if model.weights.startswith("random")]:
        lines.append(f"Random weights: {', '.join(random)}. Latency is real; labels and accuracy mean nothing.")
    if stored.due:
        lines.append("The run is incomplete: some points have fewer rounds than planned.")
    lines += [printable(reason) for reason in table.reasons(stored)]
    if run.device.stated:
        lines.append("The server is on another host: its device is as stated by the user, not detected.")
    if run.device.name == "cpu":
        lines.append("Measured on a CPU: these latencies do not predict those of a GPU.")
    if run.plan.requests < 100:  # noqa: PLR2004 (the slowest of fewer is above the 99th percentile)
        lines.append(f"With {run.plan.requests} requests per round, p99 is the slowest request.")
    missing: dict[str, list[str]] = {}
    for card in models:
        missing.setdefault(card.why, []).append(card.name)
    return lines + [f"No certificate for {', '.join(names)}: {why}." for why, names in missing.items() if why]


def certificates(models: Sequence[Card]) -> Table:
    """Return the overview of all certificates."""
    rows = tuple((card.name, dict(card.facts)["Weights"], card.why or "passed", card.worst) for card in models)
    heads = ("Models", "Weights", "Certificate", "Largest error")
    under = "The largest error of any batch against the source of the model, relative to the largest logit."
    return Table("Certificates", heads, rows, under, words=3)


def rounds(stored: Stored) -> Table:
    """Return a row per perf_analyzer process."""
    heads = ("Models", "Precision", "Began (UTC)", "Status", "Batch Size", "Concurrency", "Round", "Client mean (ms)",
             "Server compute (ms)")  # fmt: skip
    rows = [
        (
            title(point.model), point.precision.upper(), repeat.at[:19].replace("T", " "),
            "kept" if repeat.report in result.kept else repeat.status,
            str(point.batch_size), str(point.concurrency), str(repeat.number),
            *(f"{m.value_us(repeat.report) / 1000:.2f}" if repeat.report else "-" for m in (LATENCY, COMPUTE)),
        )
        for result in stored.results for point in [result.point] for repeat in result.repeats
    ]  # fmt: skip
    under = f"Kept: one of the three fastest rounds of a point. In the other tables, {table.MEDIAN}."
    return Table("Every round", heads, tuple(rows), under, words=4)


@dataclass(frozen=True)
class Card:
    """One model: named facts, and its certificate or, in `why`, the reason that there is none."""

    name: str
    facts: tuple[tuple[str, str], ...]
    certificate: Table | None = None
    worst: str = "-"
    why: str = ""


def cards(stored: Stored, repository: Path) -> tuple[Card, ...]:
    """Return a card per model, in the order of the run."""
    result = []
    for model in stored.run.models:
        digest = hashes(stored).get(model.name)
        served = next((r.origin.config_sha256 for r in stored.repeats if r.origin and r.point.model == model.name), "-")
        facts = (
            ("Weights", model.weights),
            ("BLAKE3 of the version's files", digest or "-"),
            ("SHA-256 of the config as completed by the server", served),
        )
        record = read_provenance(model.name, digest, repository)
        if isinstance(record, str):
            result.append(Card(title(model.name), facts, why=record))
        else:
            worst = f"{record.certificate.worst.relative_error:.2g}"
            certificate = certificate_table(record.certificate)
            result.append(Card(title(model.name), facts + graph_facts(record), certificate, worst))
    return tuple(result)


def read_provenance(name: str, digest: str | None, repository: Path) -> Provenance | str:
    """Return a model's provenance, or why there is none for the files with the digest."""
    if digest is None:
        return NOT_KNOWN
    if Path(name).name != name:  # a name from the file of a run must not lead out of the repository
        return NOT_FOUND
    try:
        record = provenance.read(ModelFolder(repository / name))
        files = {path.removeprefix(f"{VERSION}/"): value for path, value in record.graph_digests.items()}
        if digest == digest_of_folder(repository / name / VERSION) == digest_of_digests(files):
            return record
    except OSError:
        return NOT_FOUND
    except ValueError:
        return UNREADABLE
    return OTHER_FILES


def certificate_table(certificate: Certificate) -> Table:
    """Return the comparisons made before the model was published."""
    batches = [(str(batch.batch_size), batch) for batch in certificate.batches]
    others = (
        (certificate.fp64, f"{certificate.reference} in fp32 against itself in fp64"),
        (certificate.fp16, "an FP16 cast of the graph, on the CPU"),
    )
    rows = [
        (
            label,
            f"{error.relative_error:.2g}",
            f"{error.relative_rms:.2g}",
            *("-" if count is None else str(count) for count in (error.top1_agree, error.top5_agree)),
        )
        for label, error in [*batches, *((f"{error.batch_size}: {what}", error) for error, what in others if error)]
    ]
    heads = ("Batch", "Largest error", "RMS error", "Same top-1", "Same top-5")
    under = (
        f"ONNX Runtime on the CPU against {certificate.reference}, fp32; {certificate.inputs}. Errors are relative to "
        f"the largest logit. A batch passes within {certificate.tolerance:g}; the other rows have no limit."
    )
    return Table("Certificate", heads, tuple(rows), under)


def graph_facts(record: Provenance) -> tuple[tuple[str, str], ...]:
    """Return the facts about the graph and the tools that made it."""
    graph = record.graph
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph.opset.items())
    rewrites = ", ".join(f"{name} {count}" for name, count in graph.rewrites.items()) or "none"
    return (
        ("Graph", f"{graph.nodes_exported} nodes exported, {graph.nodes} served; rewrites: {rewrites}"),
        ("Opset", f"{opsets}, IR version {graph.ir_version}, exporter: {graph.exporter or 'none'}"),
        ("Made by", ", ".join(f"{package} {version}" for package, version in record.versions.items())),
    )
