"""The docker command and the compose file, compared with golden files: no Docker runs here."""

import os
import shlex
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

from generator.errors import BadValue
from generator.server.docker.container import compose, docker_options, docker_run, make_container
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


def container_of(case, **changes):
    """Make the container of a case."""
    gpu, precision, tag, options = CASES[case]
    options = docker_options(gpu and gpu.upper(), precision, tag, **options)
    cache = Path(f"/home/me/.cache/tritongen/tensorrt/{options.tag}-{gpu}") if options.variant else None
    return make_container(Path("/srv/model_repository"), cache, Ports(), options, **changes)


def check_golden(name, text):
    """Compare a text with a golden file; `GOLDEN=write` writes the file."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_docker_command(case):
    """One GPU, loopback ports, read-only models, a cache, an unprivileged user, the name of the variant."""
    check_golden(f"{case}.txt", shlex.join(docker_run(container_of(case))) + "\n")


@pytest.mark.parametrize("case", ["v100-fp32-24.09", "cpu", "t4-client-shm-26.05"])
def test_compose_file(case):
    """The file equals its golden file, and its YAML has the values of the container."""
    container = container_of(case)
    check_golden(f"{case}.yaml", compose(container))
    service = yaml.safe_load(compose(container))["services"]["triton"]
    assert (service["image"], service["container_name"], service["user"]) == (
        container.image,
        container.name,
        container.user,
    )
    assert service["command"] == list(container.command)
    assert service["ports"] == list(container.ports)
    assert [(v["source"], v["target"], v["read_only"]) for v in service["volumes"]] == [
        (mount.source, mount.target, mount.read_only) for mount in container.mounts
    ]
    assert ("deploy" in service) == (container.device is not None)
    assert ("ipc" in service) != ("shm_size" in service)


def test_hostile_path_is_one_string_in_yaml():
    """A path has quotes, colons, newlines, and a dollar, with which Compose would begin a variable."""
    hostile = '/srv/a"b: {x}\n- y/$HOME #'
    container = make_container(Path(hostile), None, Ports(), docker_options("cpu"))
    (volume,) = yaml.safe_load(compose(container))["services"]["triton"]["volumes"]
    assert volume["source"] == hostile.replace("$", "$$")


def test_chosen_models_other_ports_and_response_cache():
    """Chosen models are loaded explicitly; the name has the port; a config that asks for the cache gets it."""
    options = docker_options("t4", "fp16")
    container = make_container(
        Path("/m"), Path("/c"), Ports(18000, 18001, 18002), options, models=["a", "b"], response_cache=True
    )
    line = shlex.join(docker_run(container))
    assert "--name=tritongen-18001" in line
    assert "-p 127.0.0.1:18001:8001" in line
    assert "--cache-config=local,size=67108864" in line
    assert line.endswith("--model-control-mode=explicit --load-model=a --load-model=b")


@pytest.mark.parametrize("device", ["0,1", "all", "GPU-", "-1", '0" --privileged'])
def test_device_must_be_one_gpu(device):
    """Two GPUs or all are refused: before 25.04, every engine would be built on the first."""
    with pytest.raises(BadValue, match="does not name one GPU"):
        docker_options("t4", "fp16", device=device)


def test_addresses_other_than_loopback():
    """Ports are published on the address, and reached there, or on loopback if it is every address of the host."""
    for address, published, reached in (
        ("192.0.2.7", "192.0.2.7:8000:8000", "192.0.2.7:8000"),
        ("0.0.0.0", "0.0.0.0:8000:8000", "127.0.0.1:8000"),  # noqa: S104
        ("::1", "[::1]:8000:8000", "[::1]:8000"),
        ("::", "[::]:8000:8000", "[::1]:8000"),
    ):
        options = docker_options("cpu", address=address)
        assert make_container(Path("/m"), None, Ports(), options).ports[0] == published
        assert on_address(Ports(), address).http_url == reached
