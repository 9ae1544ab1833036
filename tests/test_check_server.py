"""`check` against the real embedded server: mutants of good models, and `check --server`."""

import pytest
from helpers import SMALL_CONFIG, run_program, write_model
from hypothesis import HealthCheck, Phase, given, seed, settings
from mutants import lay_out, mutants

import tritongen
from generator.server.verdicts import server_verdicts

pytestmark = pytest.mark.server

MUTANTS, DISTINCT = 160, 120
NIGHTLY_SEEDS = range(2, 8)
# What core or the server does not decide by itself: whether a library is in NVIDIA's image, and what ONNX Runtime reads.
NO_LIBRARY = "unable to find backend library for backend"
OF_THE_IMAGE = {"backend-is-there", "repository-agents", "header-of"}


def distinct_mutants(count, number):
    """Return distinct mutants, which depend only on a number."""
    collected = []

    @seed(number)
    @settings(
        max_examples=count, database=None, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutants())
    def collect(mutant):
        if mutant not in collected:
            collected.append(mutant)

    collect()
    return collected


def differences(repository, verdicts, findings):
    """Return the verdict, the errors of `check` and the config of each model on which the two disagree."""
    ours = {}
    for finding in findings:
        if finding.level == "error" and finding.default:
            ours.setdefault(finding.model, []).append(finding)
    undecided = {model for model, errors in ours.items() if {error.rule for error in errors} <= OF_THE_IMAGE}
    undecided |= {verdict.model for verdict in verdicts.values() if NO_LIBRARY in verdict.message}
    return [
        (
            verdict,
            [finding.message for finding in ours.get(verdict.model, [])],
            (repository / verdict.model / "config.pbtxt"),
        )
        for verdict in verdicts.values()
        if verdict.accepted == (verdict.model in ours) and verdict.model not in undecided
    ]


@pytest.mark.parametrize("number", [1, *(pytest.param(number, marks=pytest.mark.nightly) for number in NIGHTLY_SEEDS)])
def test_mutants_have_the_servers_verdict(tmp_path, number):
    """The server and `check` agree on models with dropped, doubled, retyped and renamed fields, and moved files."""
    collected = distinct_mutants(MUTANTS, number)
    assert len(collected) >= DISTINCT
    for place, mutant in enumerate(collected):
        lay_out(mutant, tmp_path, f"m{place:03}")
    verdicts = server_verdicts(tmp_path)
    assert len(verdicts) == len(collected)
    assert {verdict.stage for verdict in verdicts.values()} >= {"ready", "poll", "load"}
    assert differences(tmp_path, verdicts, tritongen.check(tmp_path)) == []


def test_server(tmp_path):
    """`check --server` prints the real server's verdict on each model, and agrees."""
    write_model(tmp_path / "model_repository", "good")
    write_model(tmp_path / "model_repository", "typo", SMALL_CONFIG.replace("max_batch_size", "max_batchsize"))
    write_model(tmp_path / "model_repository", "dims", SMALL_CONFIG.replace("[ 1000 ]", "[ 1001 ]"))
    ran = run_program("check", "--server", cwd=tmp_path)
    assert ran.status == 1
    assert "server: good: READY\n" in ran.stderr
    assert "server: typo: refused (poll): failed to read text proto from" in ran.stderr
    assert "server: dims: refused (load): " in ran.stderr
    assert "a defect of tritongen" not in ran.stderr


def test_built_networks_have_no_findings(two_networks):
    """A built repository has no errors or warnings, also if it is run with warm-up samples and a batch of 8."""
    ran = run_program("check", two_networks, "--run", "--fail-on", "warning", cwd=two_networks.parent)
    assert (ran.status, ran.stdout) == (0, "")
