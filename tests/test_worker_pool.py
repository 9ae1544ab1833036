"""Builds in worker processes: the same bytes, isolated failures, and no process left behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import tiny_networks
from helpers import ROOT, contents, eventually
from tiny_networks import FOUR, TINY_DENSENET, TINY_DPN, own

import tritongen
from generator import errors
from generator.builder import worker_pool
from generator.builder.staleness import Job
from generator.builder.worker_pool import Limits, Worker, next_fitting, picklable
from generator.config.types import BuildOptions
from generator.errors import BadValue, OutputFailed, TritongenError, UnknownName, VerificationFailed, WorkerDied
from generator.networks.types import Network
from generator.networks.user_networks import TorchNetwork

TESTS = Path(__file__).parent
BUILD_FOUR = """
import sys, tritongen, tiny_networks
report = tritongen.build(tiny_networks.FOUR, output=sys.argv[1], jobs=int(sys.argv[2]))
assert not report.failed, report.failed
"""  # no `if __name__ == "__main__"`: a worker must not run the script again


def script(text, *arguments, start_new_session=False, **environment):
    """Start a Python program that uses the API."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        cwd=TESTS, env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=start_new_session,
    )  # fmt: skip


@pytest.fixture(name="undisturbed", scope="module")
def _undisturbed(tmp_path_factory):
    """Build a repository of the four networks in this process."""
    folder = tmp_path_factory.mktemp("undisturbed") / "models"
    assert tritongen.build(FOUR, output=folder, jobs=1).failed == {}
    return contents(folder)


@pytest.mark.parametrize(
    ("jobs", "environment"),
    [
        (1, {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}),
        (2, {"OMP_NUM_THREADS": "1", "HOSTNAME": "elsewhere", "TZ": "Asia/Tokyo"}),
        (4, {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "7", "LC_ALL": "C"}),
    ],
    ids=["one process, three threads", "two workers, one thread", "four workers, two threads"],
)
def test_reproducible(tmp_path, undisturbed, jobs, environment):
    """The bytes do not depend on folder, number of workers, threads and environment."""
    build = script(BUILD_FOUR, tmp_path / "elsewhere" / "models", jobs, **environment)
    _, stderr = build.communicate()
    assert build.returncode == 0, stderr
    assert contents(tmp_path / "elsewhere" / "models") == undisturbed
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["models"]


def test_script_runs_once(tmp_path, undisturbed):
    """Workers do not run the script again; output of user code goes to stderr."""
    more = "(tiny_networks.own(tiny_networks.good), *tiny_networks.FOUR)"
    text = BUILD_FOUR.replace("import sys", "print('once'); import sys").replace("tiny_networks.FOUR", more)
    (tmp_path / "script.py").write_text(text)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "models", "2"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{TESTS}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert done.stderr == "a module is made\n"
    assert contents(tmp_path / "models").items() > undisturbed.items()


def test_failures_are_isolated(tmp_path, monkeypatch):
    """A crash, an error in user code and a foreign folder do not stop the others; the order is that of the call."""
    monkeypatch.syspath_prepend(str(TESTS))
    (tmp_path / "models" / "small-dpn").mkdir(parents=True)
    networks = [own(tiny_networks.killed), *FOUR, own(tiny_networks.refused), own(tiny_networks.good)]
    report = tritongen.build(networks, output=tmp_path / "models", jobs=3)
    assert [model.network.name for model in report.built] == ["tiny-densenet", "tiny-dpn", "small-densenet", "good"]
    assert {name: str(error) for name, error in report.failed.items()} == {
        "killed": "killed was not made: its process was killed by SIGKILL",
        "refused": "tiny_networks:refused gives no network: ValueError: there are no weights today "
        f"(tiny_networks.py, line {line_of('there are no weights today')})",
        "small-dpn": f"{tmp_path / 'models' / 'small-dpn'} was not made by tritongen and would be replaced",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]


def line_of(text):
    """Return the line number of a text in the networks file."""
    lines = Path(tiny_networks.__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_summary_of_a_failed_build(tritongen, monkeypatch):
    """The exit status is 1, the other models are published, and stdout holds only data."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{TESTS}")
    done = tritongen("build", "--torch", "tiny_networks:good", "--input", "4", "--json", "--jobs", 2)
    assert done.status == 0, done.stderr
    assert done.json["models"][0]["model"] == "good"  # what its code prints is on stderr
    assert "a module is made" in done.stderr
    done = tritongen("build", "--torch", "tiny_networks:refused", "--input", "4")
    assert done.status == 1
    assert "error: tiny_networks:refused gives no network: ValueError: there are no weights today" in done.stderr


INTERRUPTED = """
import sys, tritongen, tiny_networks
networks = [tiny_networks.own(tiny_networks.slow), *tiny_networks.FOUR]
tritongen.build(networks, output=sys.argv[1], jobs=2)
"""


@pytest.fixture(name="slow_build")
def _slow_build(tmp_path):
    """Start a build that hangs in one worker after it published the other models."""
    build = script(INTERRUPTED, tmp_path / "models")
    assert eventually(lambda: len(list((tmp_path / "models").glob("*/provenance.json"))) == len(FOUR), 120)
    process = psutil.Process(build.pid)
    # The resource tracker, the fork server and one worker: the others end just after their models are published.
    assert eventually(lambda: len(process.children(recursive=True)) == 3)
    yield build, process.children(recursive=True)
    build.kill()
    build.communicate()


def test_ctrl_c(tmp_path, slow_build, undisturbed):
    """The workers end, nothing stays staged, and published models stay."""
    build, family = slow_build
    build.send_signal(signal.SIGINT)
    _, stderr = build.communicate(timeout=60)
    assert stderr.rstrip().endswith("KeyboardInterrupt")  # one traceback, the script's own
    assert stderr.count("Traceback") == 1
    assert eventually(lambda: not any(map(alive, family)))
    assert contents(tmp_path / "models") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_killed_build_ends_its_workers(tmp_path, slow_build, undisturbed):
    """SIGKILL to the build ends all processes; SIGINT to the others does nothing."""
    build, family = slow_build
    for process in family:
        process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        build.wait(1)
    assert all(map(alive, family))
    build.kill()
    assert eventually(lambda: not any(map(alive, family)))
    assert contents(tmp_path / "models") == undisturbed


def alive(process):
    """Check that a process runs."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def interrupt_a_terminal(tmp_path, models, ready, after_s=0.0):
    """Send Ctrl-C to the process group of a build: one error, nothing left, exit status 130."""
    with subprocess.Popen(
        [sys.executable, "-m", "tritongen", "build", "--models", models, "--jobs", "2", "-o", "models"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as build:  # fmt: skip
        process = psutil.Process(build.pid)
        assert eventually(lambda: ready(process), 120)
        time.sleep(after_s)
        family = process.children(recursive=True)
        os.killpg(build.pid, signal.SIGINT)
        _, stderr = build.communicate(timeout=60)
    assert (build.returncode, stderr.strip()) == (130, "error: interrupted")
    assert eventually(lambda: not any(map(alive, family)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("models", ["densenet121", "densenet121,dpn68"], ids=["in this process", "in workers"])
def test_ctrl_c_of_a_terminal(tmp_path, models):
    """Ctrl-C while models are built."""
    interrupt_a_terminal(tmp_path, models, lambda _: list(tmp_path.glob(".models.staging/models/*/1/model.onnx")))


@pytest.mark.parametrize("after_s", [0, 0.5, 1])
def test_ctrl_c_while_the_fork_server_starts(tmp_path, after_s):
    """The fork server ignores Ctrl-C while it imports torch."""
    interrupt_a_terminal(
        tmp_path, "densenet121,dpn68", lambda build: any(map(is_fork_server, build.children())), after_s
    )


def is_fork_server(process):
    """Recognise the fork server by its command."""
    return "multiprocessing.forkserver" in " ".join(process.cmdline())


def job(network):
    """Return a job with default options."""
    return Job(network, BuildOptions(), 0, None, None)


def test_next_fitting_job():
    """The first job that fits into memory starts next; a larger one runs alone."""
    waiting = list(zip((3, 2, 9, 1), map(job, FOUR), strict=True))
    running = [Worker(None, waiting[2][1], 4)]

    def chosen(limits, running, waiting=waiting):
        place = next_fitting(waiting, running, limits)
        return None if place is None else waiting[place][1].network.name

    assert chosen(Limits(2, 8), running) == "tiny-densenet"
    assert chosen(Limits(2, 6), running) == "tiny-dpn"
    assert chosen(Limits(2, 5), running) == "small-dpn"
    assert chosen(Limits(2, 4), running) is None
    assert chosen(Limits(1, 100), running) is None
    assert chosen(Limits(4, 5), [], [waiting[2]]) == "small-densenet"
    assert chosen(Limits(4, 5), [], []) is None


def test_small_budget_builds_one_at_a_time(tmp_path):
    """With memory for one model, the workers run one after the other."""
    steps = []
    report = tritongen.build(
        FOUR, output=tmp_path, jobs=4, memory_gib=0.001,
        on_step=lambda network, step: steps.append((network.name, step)),
    )  # fmt: skip
    assert len(report.built) == len(FOUR)
    order = [name for name, _ in steps]
    assert len({*order}) == sum(one != other for one, other in zip([None, *order], order, strict=False))


@pytest.mark.parametrize(
    "error",
    [
        TritongenError("it failed", "try again"),
        UnknownName("network", "densnet121", ["densenet121"]),
        BadValue("jobs", 0, "must be at least 1"),
        VerificationFailed("net", "it differs", None),
        OutputFailed(Path("models"), OSError(28, "No space left on device")),
        WorkerDied("net", -9),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error):
    """Type, text, hint and exit code are equal in the parent process."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert (type(again), str(again), again.hint, again.exit_code) == (
        type(error), str(error), error.hint, error.exit_code,
    )  # fmt: skip


def test_all_errors_can_be_pickled():
    """No class of error overrides the pickling of TritongenError."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TritongenError)]
    assert len(kinds) > 20
    assert all(kind.__reduce__ is TritongenError.__reduce__ for kind in kinds)


def test_lambda_is_built_in_this_process(tmp_path):
    """A network that cannot be pickled is built here, beside the workers."""
    module = tiny_networks.good()
    nameless = Network(
        "nameless", "Nameless", TorchNetwork(lambda: module, own(tiny_networks.good).definition.inputs), None
    )
    assert not picklable(job(nameless))
    assert picklable(job(TINY_DPN))
    report = tritongen.build([nameless, TINY_DENSENET, TINY_DPN], output=tmp_path, jobs=2)
    assert [model.network.name for model in report.built] == ["nameless", "tiny-densenet", "tiny-dpn"]
    assert report.failed == {}


def test_preloaded_modules_exist():
    """The fork server ignores a module that it cannot import, and every worker would then import torch itself."""
    assert all(map(find_spec, worker_pool.PRELOADED))


def test_bad_limits(tritongen):
    """Invalid limits are usage errors."""
    for arguments, sentence in (
        (("--jobs", 0), "--jobs 0: must be at least 1"),
        (("--memory", -1), "--memory -1.0: must be above 0"),
        (("--memory", "nan"), "--memory nan: must be above 0"),
    ):
        done = tritongen("build", *arguments)
        assert (done.status, done.stderr.splitlines()[0]) == (2, f"error: {sentence}")


def test_unexpected_error_keeps_its_traceback(tmp_path, monkeypatch):
    """An unexpected error in a worker is raised by build() with its traceback."""
    monkeypatch.setattr(worker_pool, "run_worker", broken_work)
    with pytest.raises(RuntimeError, match=r"(?s)tiny-.*Traceback.*AttributeError"):
        tritongen.build([TINY_DENSENET, TINY_DPN], output=tmp_path / "models", jobs=2)
    assert list(tmp_path.iterdir()) == []


def broken_work(job, staged, connection):
    """Run a worker that fails with an AttributeError."""
    del job
    worker_pool.run_worker(None, staged, connection)


FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"


def test_full_disk_in_a_worker(tmp_path, undisturbed):
    """One error ends the build; all models keep their old version, and nothing is staged."""
    for name, content in undisturbed.items():
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    build = script(FULL_DISK + BUILD_FOUR.replace("output=", "seed=2, output="), tmp_path / "models", 2)
    _, stderr = build.communicate()
    assert build.returncode == 1
    assert "OutputFailed: cannot write" in stderr.splitlines()[-1]
    assert stderr.rstrip().endswith("1/model.onnx: file too large")
    assert contents(tmp_path / "models") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
