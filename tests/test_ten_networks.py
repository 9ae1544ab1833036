"""All ten networks: built as a user builds them, checked, served by the real Triton, and equal to torch."""

import pytest
from helpers import run_program, serving
from test_server import check_answers
from test_variants_server import VARIANTS, check_default_configs, check_variant

from generator.networks import NETWORKS

pytestmark = [pytest.mark.slow, pytest.mark.server]

NAMES = tuple(sorted(network.name for network in NETWORKS))


@pytest.fixture(name="repository", scope="module")
def _repository(tmp_path_factory):
    """A repository with all ten networks."""
    folder = tmp_path_factory.mktemp("ten")
    done = run_program("build", "--models", "all", "--precision", "fp16", cwd=folder)
    assert done.status == 0, done.stderr
    return folder / "model_repository"


@pytest.fixture(name="ten", scope="module")
def _ten(repository):
    """A real Triton with all ten networks."""
    with serving(repository) as running:
        yield running


def test_no_findings(repository):
    """There are no errors or warnings, also with warm-up samples and a batch of 8."""
    ran = run_program("check", repository, "--run", "--fail-on", "warning", cwd=repository.parent)
    assert (ran.status, ran.stdout) == (0, "")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_target_config_differs_in_its_accelerator_alone(repository, variant):
    """The CPU ignores that block, so a config loads if the default one does."""
    check_variant(repository, NAMES, variant)


def test_default_configs_load(ten):
    """After `build --models all` and `serve`, ten models are READY."""
    check_default_configs(ten.url, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_served_answers_match_torch(ten, name):
    """At batch 1, 4 and 8 the answers match torch within the bound of the certificate."""
    check_answers(ten.url, name)
