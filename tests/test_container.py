"""The docker line and the compose file, held to golden files: no Docker runs here."""

import os
import shlex
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

from generator.errors import BadValue
from generator.server.docker.container import compose, container, docker_options, docker_run
from generator.server.ports import Ports, on_address

GOLDEN = ROOT / "tests" / "golden" / "docker"


CASES = {
    **{f"v100-{p}-{tag}": ("v100", p, tag, {}) for p in ("fp16", "fp32") for tag in ("24.05", "24.09")},
    **{f"t4-{p}-{tag}": ("t4", p, tag, {}) for p in ("fp16", "fp32") for tag in ("24.09", "26.05")},
    "cpu": ("cpu", None, None, {}),
    "no-gpu-named": (None, None, None, {}),
    "t4-client-shm-26.05": ("t4", "fp16", "26.05", {"client_shm": True, "device": "1"}),
    "t4-client-shm-24.09": ("t4", "fp16", "24.09", {"client_shm": True, "address": "0.0.0.0"}),  # noqa: S104
}


def made(case, **changes):
    """The container of a case."""
    gpu, precision, tag, options = CASES[case]
    options = docker_options(gpu and gpu.upper(), precision, tag, **options)
    cache = Path(f"/home/me/.cache/tritongen/tensorrt/{options.tag}-{gpu}") if options.variant else None
    return container(Path("/srv/model_repository"), cache, Ports(), options, **changes)


def check_golden(name, text):
    """Compare a text with the file, whole; `GOLDEN=write` writes it."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_the_whole_line(case):
    """One GPU, loopback ports, read-only models, a cache, an unprivileged user, the variant's name."""
    check_golden(f"{case}.txt", shlex.join(docker_run(made(case))) + "\n")


@pytest.mark.parametrize("case", ["v100-fp32-24.09", "cpu", "t4-client-shm-26.05"])
def test_the_compose_file(case):
    """Golden too; and what a YAML reader finds in it is what the line says."""
    of = made(case)
    check_golden(f"{case}.yaml", compose(of))
    service = yaml.safe_load(compose(of))["services"]["triton"]
    assert (service["image"], service["container_name"], service["user"]) == (of.image, of.name, of.user)
    assert service["command"] == list(of.command)
    assert service["ports"] == list(of.ports)
    assert [(v["source"], v["target"], v["read_only"]) for v in service["volumes"]] == [
        (mount.source, mount.target, mount.read_only) for mount in of.mounts
    ]
    assert ("deploy" in service) == (of.device is not None)
    assert ("ipc" in service) != ("shm_size" in service)


def test_hostile_paths_stay_strings_in_yaml():
    """Quotes, colons, newlines; and a dollar, which Compose would put a variable in place of."""
    hostile = '/srv/a"b: {x}\n- y/$HOME #'
    of = container(Path(hostile), None, Ports(), docker_options("cpu"))
    (volume,) = yaml.safe_load(compose(of))["services"]["triton"]["volumes"]
    assert volume["source"] == hostile.replace("$", "$$")


def test_chosen_models_other_ports_and_a_response_cache():
    """In explicit control; a name a port; a cache where a config asks for one."""
    options = docker_options("t4", "fp16")
    of = container(Path("/m"), Path("/c"), Ports(18000, 18001, 18002), options, models=["a", "b"], response_cache=True)
    line = shlex.join(docker_run(of))
    assert "--name=tritongen-18001" in line
    assert "-p 127.0.0.1:18001:8001" in line
    assert "--cache-config=local,size=67108864" in line
    assert line.endswith("--model-control-mode=explicit --load-model=a --load-model=b")


@pytest.mark.parametrize("device", ["0,1", "all", "GPU-", "-1", '0" --privileged'])
def test_one_gpu_a_container(device):
    """Not two, not all: before 25.04 every engine would be built on the first."""
    with pytest.raises(BadValue, match="it is not one GPU"):
        docker_options("t4", "fp16", device=device)


def test_other_addresses_than_loopback():
    """Published there, an IPv6 one in brackets; asked there, or on loopback where it is every one of the host's."""
    for address, published, asked in (
        ("192.0.2.7", "192.0.2.7:8000:8000", "192.0.2.7:8000"),
        ("0.0.0.0", "0.0.0.0:8000:8000", "127.0.0.1:8000"),  # noqa: S104
        ("::1", "[::1]:8000:8000", "[::1]:8000"),
        ("::", "[::]:8000:8000", "[::1]:8000"),
    ):
        options = docker_options("cpu", address=address)
        assert container(Path("/m"), None, Ports(), options).ports[0] == published
        assert on_address(Ports(), address).http_url == asked
