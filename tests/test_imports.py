"""Imports point one way."""

import ast
import tomllib

import pytest
from helpers import ROOT

# Lower layers know nothing of higher ones (and modules of one layer may know each other).
LAYERS = (
    ("generator.errors", "generator.spec", "generator.served", "generator.shell", "generator.guard", "generator.threads", "generator.cache",
     "generator.datatypes", "generator.files", "generator.tensorrt", "generator.heap", "generator.digests",
     "generator.published", "generator.s3.url"),
    ("generator.networks", "generator.weights", "generator.targets", "generator.image", "generator.render", "generator.verify", "generator.console",
     "generator.samples", "generator.references", "generator.half", "generator.signature", "generator.rewrites",
     "generator.batching", "generator.batch_rules", "generator.labels", "generator.rows", "generator.templates",
     "generator.serving_options", "generator.config_file"),
    ("generator.export", "generator.simplify", "generator.repository", "generator.provenance", "generator.to_do", "generator.rules", "generator.onnx_file",
     "generator.prepare", "generator.prepared", "generator.own_onnx", "generator.own_torch",
     "generator.client", "generator.server", "generator.onnx_header", "generator.findings", "generator.judge",
     "generator.check_run", "generator.weightless", "generator.onnx_pieces", "generator.make", "generator.side_by_side", "generator.ownership",
     "generator.build_call", "generator.memory", "generator.destination", "generator.s3"),
    ("generator.pipeline", "generator.checking", "generator.doctor", "perf"),
    ("generator.commands", "perf.command", "perf.options"),
    ("generator.cli", "generator.__main__"),
)  # fmt: skip
FILES = [path for package in ("generator", "perf") for path in (ROOT / package).rglob("*.py")]


def module_name(path):
    """`generator.server.docker` of its file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer(module):
    """The number of the layer of the longest prefix that is listed."""
    prefixes = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    assert prefixes, f"{module} is in no layer"
    return max(prefixes)[1]


def imports(path):
    """The project's modules that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {
                part
                if (ROOT / part.replace(".", "/")).with_suffix(".py").exists()
                or (ROOT / part.replace(".", "/")).is_dir()
                else node.module
                for part in parts
            }
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.partition(".")[0] in ("generator", "perf") and name != "generator"}


def imported(path):
    """The top packages that a file imports."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_import_points_up(path):
    """A module imports from its own layer or from a lower one."""
    module = module_name(path)
    if module == "generator":  # the API's lazy map, for type checkers
        return
    assert [name for name in imports(path) if layer(name) > layer(module)] == []


def test_generator_never_imports_perf():
    """`perf` builds on `generator`; the lazy map of commands names it by a string."""
    assert [
        module_name(path)
        for path in FILES
        if path.is_relative_to(ROOT / "generator") and any(name.startswith("perf") for name in imports(path))
    ] == []


def test_leaves_import_nothing_of_ours():
    """errors, spec and shell stand alone."""
    assert [imports(ROOT / f"generator/{leaf}.py") for leaf in ("errors", "spec", "shell", "guard")] == [set()] * 4


def test_one_file_starts_programs_and_one_forks():
    """subprocess.run and Popen stand in shell.py only, multiprocessing in side_by_side.py; others may name exceptions."""
    starters = [
        module_name(path)
        for path in FILES
        if any(call in path.read_text() for call in ("subprocess.run(", "subprocess.Popen(", "os.system(", "os.exec"))
    ]
    assert sorted(starters) == ["generator.guard", "generator.shell"]
    assert [module_name(path) for path in FILES if "multiprocessing" in imported(path)] == ["generator.side_by_side"]


def test_the_version_is_told_once():
    """The changelog's newest entry is the package's version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
