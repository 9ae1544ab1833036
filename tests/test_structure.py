"""Rules of the code's structure that import contracts cannot express."""

import ast
import tomllib

from helpers import ROOT

FILES = [path for package in ("generator", "perf") for path in (ROOT / package).rglob("*.py")]


def module_name(path):
    """Return the dotted name of a file, such as `generator.server.ports`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """Return the top-level packages that a file imports."""
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in names}


def test_few_modules_start_processes():
    """Only `processes` and its guard start programs; only the worker pool forks."""
    calls = ("subprocess.run(", "subprocess.Popen(", "os.system(", "os.exec")
    starters = {module_name(path) for path in FILES if any(call in path.read_text() for call in calls)}
    assert starters == {"generator.system.parent_guard", "generator.system.processes"}
    forkers = {module_name(path) for path in FILES if "multiprocessing" in imported(path)}
    assert forkers == {"generator.builder.worker_pool"}


def test_generator_has_few_entries():
    """`generator/` has at most 16 entries."""
    entries = [entry.name for entry in (ROOT / "generator").iterdir() if entry.name != "__pycache__"]
    assert len(entries) <= 16, sorted(entries)


def test_the_changelog_has_the_version():
    """The newest entry of the changelog is the version of the package."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
