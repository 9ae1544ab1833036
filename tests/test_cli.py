"""The command line: exit status, stdout and stderr of each kind of call."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
from helpers import ROOT, run_program

from generator.cli import COMMANDS
from generator.commands import console
from generator.commands.list import RULE, cells, markdown, record
from generator.commands.list import command as list_command
from generator.errors import BadValue
from generator.networks import NETWORKS
from generator.networks.types import Counts

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxsim",
    "numpy",
    "matplotlib",
    "rich",
    "pydantic",
    "tritonclient",
    "fsspec",
    "botocore",
)
LOADED = """
import sys
from generator.cli import status_of_call
sys.argv = ["tritongen", *sys.argv[1:]]
status = status_of_call()
loaded = [name for name in {heavy} if name in sys.modules]
sys.exit(f"loaded {{loaded}}" if loaded else status)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    """The help of the program and of every command loads no large package."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(heavy=HEAVY), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: tritongen ")


def test_help_lists_every_command(tritongen):
    """The commands are listed in the order of their use."""
    listed = tritongen("--help").stdout.partition("Commands:")[2].split("\n")
    assert [line.split()[0] for line in listed if line] == [
        "list", "build", "check", "serve", "infer", "perf", "doctor",
    ]  # fmt: skip


def test_import_loads_no_torch():
    """`import tritongen` loads no torch and no numpy."""
    code = "import tritongen, sys; print([name for name in ('torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        ("biuld", "there is no command named 'biuld'", "did you mean 'build'?"),
        ("build --models nosuch", "there is no network named 'nosuch'", "known: densenet121, densenet161,"),
        ("build -m densenet12", "there is no network named 'densenet12'", "did you mean 'densenet121'?"),
        ("build --precision fp8", "'fp8' is not one of 'fp16', 'fp32'", "`tritongen build --help`"),
        ("build --gpu v10", "there is no GPU named 'v10'", "did you mean 'v100'?"),
        ("build --max-batch-size 0", "--max-batch-size 0: must be at least 1", ""),
        ("build --max-batch-size x", "Invalid value for '--max-batch-size'", "`tritongen build --help`"),
        ("build --nope", "No such option", "`tritongen build --help`"),
        ("list -m resnet50", "there is no network named 'resnet50'", "known: "),
        ("list --json --table", "--table and --json cannot be combined", "leave one of them out"),
        ("serve --engine kubernetes", "Invalid value for '--engine'", "`tritongen serve --help`"),
        ("serve --engine embedded --gpu t4", "--gpu t4: needs the docker engine", "add --engine docker"),
        (
            "serve --engine docker --precision fp16",
            "--precision fp16: needs --gpu",
            "add --gpu v100, --gpu t4 or --gpu cpu",
        ),
        (
            "serve --engine docker --gpu v100 --image-tag 24.11",
            "--image-tag 24.11: cannot run FP16 on a V100",
            "use 24.09",
        ),
        ("serve --http-port 65536", "Invalid value for '--http-port'", "`tritongen serve --help`"),
        ("serve --http-port 8001", "--http-port 8001: --grpc-port is 8001 too", "give each service"),
        (
            "serve --engine docker --image-tag banana",
            "--image-tag banana: not a release of Triton",
            "releases are YY.MM",
        ),
        ("build --models ,", "--models '': no network is named", "--models all"),
        ("build --output=", "--output '': empty", "name a folder, or s3:"),
        ("perf --url http://localhost:8001", "is not HOST:PORT, such as localhost:8001", "`tritongen perf --help`"),
        ("infer", "Missing argument 'IMAGE...'", "`tritongen infer --help`"),
        ("infer a.jpg -m densenet121 --top 0", "Invalid value for '--top'", "`tritongen infer --help`"),
        ("perf --gpu cpu --precision fp16", "--precision fp16: the CPU serves FP32 only", "leave --precision out"),
        ("perf --gpu a100", "there is no GPU named 'a100'", "known: v100, t4, cpu"),
        (
            "perf --batch-sizes 1,x",
            "Invalid value for '--batch-sizes' / '-b': 'x' is not a whole number",
            "`tritongen perf",
        ),
        ("perf --batch-sizes ,", "no number is given", "`tritongen perf --help`"),
        ("perf --models ,", "--models '': no model is named", "--models all"),
        ("perf --show last", "there is no run in perf/results yet", "`tritongen perf` measures"),
        (
            "perf --show published --csv",
            "--show published prints the published tables",
            "the published latencies as CSV",
        ),
        ("perf --csv --compare last", "--csv and --compare cannot be combined", "leave one of them out"),
        ("perf --fail-above nan --compare last", "--fail-above nan: not a ratio", "1.10 is 10 % slower"),
        (
            "perf --perf-analyzer /etc/passwd",
            "--perf-analyzer /etc/passwd: not a program",
            "name the program itself",
        ),
        (
            "perf --perf-analyzer /bin/true",
            "--version ended with 0 and printed 'true (GNU coreutils)",
            "name the program itself",
        ),
        ("perf --batch-sizes 0", "'0' is not a whole number from 1", "`tritongen perf --help`"),
    ],
)
def test_wrong_call_is_refused(tritongen, tmp_path, arguments, sentence, hint):
    """The exit status is 2; stderr has one error and its hint; no file is written."""
    ran = tritongen(*arguments.split())
    assert (ran.status, ran.stdout) == (2, "")
    error, *rest = ran.stderr.splitlines()
    assert error.startswith("error: ")
    assert sentence in error
    assert [line for line in rest if line] == (
        [line for line in rest if line.startswith(f"hint: {hint}")] if hint else []
    )
    assert bool(hint) == bool(rest)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("serve --engine embedded", "model_repository is not a model repository: there is no such folder"),
        ("serve --engine embedded empty", "empty is not a model repository: it holds no models"),
        ("serve --engine embedded file", "file is not a model repository: it is a file"),
        ("serve --engine docker empty", "the docker engine cannot start here: no Docker engine answers"),
        ("infer missing.jpg -m densenet121", "missing.jpg is not a readable image: there is no such file"),
        ("infer file -m densenet121", "file is not a readable image: Pillow does not know its format"),
        ("perf --gpu v100 --url localhost:1", "no Triton at localhost:1: nothing there answers Triton's gRPC"),
        ("build -m densenet121 --output file", "cannot write"),
    ],
)
def test_failed_work(tritongen, tmp_path, arguments, sentence):
    """The exit status is 1; stderr has one error and no traceback."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no image, no folder")
    ran = tritongen(*arguments.split(), env={"PATH": "/usr/bin:/bin", "DOCKER_HOST": "unix:///nowhere"})
    assert (ran.status, ran.stdout) == (1, "")
    assert f"error: {sentence}" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_list():
    """The list has a row per network in 80 columns; torch's compiler is not loaded."""
    slow = LOADED.format(heavy=("sympy", "torch._dynamo"))
    ran = subprocess.run([sys.executable, "-c", slow, "list"], cwd=ROOT, capture_output=True, text=True, check=True)
    _, *lines = ran.stdout.splitlines()
    assert [len(line) <= 80 for line in lines] == [True] * 10
    assert lines[6].split() == ["dpn92", "37.668", "36.291", "36.29", "13.003", "12.536", "12.54", "0.799", "0.948"]
    assert "DenseNet264's 33.37 M" in ran.stderr
    assert "latency is real, labels mean nothing" in ran.stderr


def test_list_as_json(capsys):
    """JSON has all values, unrounded."""
    list_command.main(["-m", "DPN92,densenet264", "--json"], standalone_mode=False)
    densenet, dpn = json.loads(capsys.readouterr().out)
    assert densenet["reference_top5"] is None
    assert dpn == {
        "model": "dpn92",
        "title": "DPN92",
        "parameters": 37668392,
        "flops": 13003368448,
        "published_parameters_m": 36.29,
        "published_flops_g": 12.54,
        "recomputed_parameters": 36291041,
        "recomputed_flops": 12535693184,
        "published_top1": 0.799,
        "published_top5": 0.948,
        "reference_top1": 0.793,
        "reference_top5": 0.946,
    }


ACCURACY = """\
| Models | Top1 | Top5 | Reference top1 | Reference top5 | FLOPS (G) | Parameters (M) |
| --- | --- | --- | --- | --- | --- | --- |
| DenseNet121 | 0.757 | 0.926 | 0.750 |  | 5.690 | 7.980 |
| DenseNet161 | 0.786 | 0.941 | 0.778 |  | 15.490 | 28.680 |
| DenseNet169 | 0.768 | 0.933 | 0.764 |  | 6.740 | 14.150 |
| DenseNet201 | 0.776 | 0.937 | 0.775 |  | 8.610 | 20.010 |
| DenseNet264 | 0.780 | 0.939 | 0.779 |  | 11.540 | 33.370 |
| DPN68 | 0.768 | 0.934 | 0.764 | 0.931 | 4.030 | 10.780 |
| DPN92 | 0.799 | 0.948 | 0.793 | 0.946 | 12.540 | 36.290 |
| DPN98 | 0.806 | 0.951 | 0.799 | 0.949 | 22.220 | 58.460 |
| DPN107 | 0.809 | 0.953 | 0.802 | 0.951 | 35.060 | 82.970 |
| DPN131 | 0.807 | 0.951 | 0.801 | 0.949 | 30.510 | 75.360 |
"""


def test_accuracy_table(tritongen):
    """The published table is on stdout; the rule for two of its columns is on stderr."""
    ran = tritongen("list", "--table")
    assert (ran.status, ran.stdout) == (0, ACCURACY)
    assert ran.stderr == f"\n{RULE}\n"


def test_network_without_published_values():
    """Missing values are dashes in the list and null in JSON; the published table has no row."""
    network = replace(NETWORKS[0], published=None)
    counts = Counts(7_978_856, 5_668_323_328)
    assert cells(network, counts, None) == ("densenet121", "7.979", "-", "-", "5.668", "-", "-", "-", "-")
    known = {key for key, value in record(network, counts, None).items() if value is not None}
    assert known == {"model", "title", "parameters", "flops"}
    assert markdown([network, NETWORKS[1]]).count("\n") == 2


def test_no_arguments(tritongen):
    """A call without arguments prints the help on stderr."""
    ran = tritongen()
    assert (ran.status, ran.stdout) == (2, "")
    assert ran.stderr.startswith("Usage: tritongen ")


def test_full_output():
    """`tritongen list > /dev/full` prints one error."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tritongen", "list", "-m", "dpn68"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "error: the output cannot be written: no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_colour_in_a_pipe(tritongen):
    """The output in a pipe has no escape sequences."""
    ran = tritongen("build", "-m", "nosuch")
    assert "\x1b" not in ran.stderr


def test_closed_pipe():
    """A pipe whose reader has ended causes no traceback."""
    done = subprocess.run(
        f"{sys.executable} -m tritongen list -m dpn68 | true",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("call", ["check ", "serve ", "build --output ", "infer a.jpg --repository "])
def test_paths_are_completed(tmp_path, call):
    """A shell completes a repository as a path."""
    words = {"_TRITONGEN_COMPLETE": "bash_complete", "COMP_WORDS": f"tritongen {call}", "COMP_CWORD": str(len(call.split()) + 1)}  # fmt: skip
    assert run_program(cwd=tmp_path, env=words).stdout == "file,\n"


def test_parameters_become_options():
    """The command line prints the parameters in an error as its options."""
    command = click.Command(
        "x",
        params=[
            click.Option(["--jobs", "-j"]),
            click.Option(["--gpu", "gpus"]),
            click.Option(["--fast"], is_flag=True),
        ],
    )
    error = BadValue("jobs", 0, "must be at least 1 with `gpu`", "try `jobs=1`, not `docker ps` or `force`")
    assert str(error) == "jobs=0: must be at least 1 with `gpu`"
    assert console.sentence(error, command) == "--jobs 0: must be at least 1 with --gpu"
    assert console.with_flags(error.hint, command) == "try --jobs 1, not `docker ps` or `force`"
    assert console.sentence(BadValue("fast", "true", "too fast"), command) == "--fast: too fast"
    assert console.sentence(BadValue("endpoint", "http://x", "unknown"), command) == "endpoint=http://x: unknown"
    assert str(BadValue("name", "a\x1b[2J", "bad")) == "name=a\\x1b[2J: bad"
