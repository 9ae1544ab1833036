"""The NVIDIA GPUs of this machine, as nvidia-smi reports them."""

from dataclasses import dataclass

from generator.system.processes import try_run

TIMEOUT_S = 20


@dataclass(frozen=True)
class Gpu:
    """A GPU as nvidia-smi reports it; an unknown value is `[N/A]`."""

    name: str
    uuid: str
    driver: str
    sm_clock_mhz: str
    memory_clock_mhz: str
    power_limit_w: str
    temperature_c: str


def query(fields: str) -> list[list[str]]:
    """Query fields of every GPU: a row per GPU, and no rows without nvidia-smi, driver or GPU."""
    done = try_run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"], timeout_s=TIMEOUT_S)
    if done is None:
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return rows if done.returncode == 0 and all(len(row) == len(fields.split(",")) for row in rows) else []


def gpu_names() -> tuple[str, ...]:
    """Return the names of all GPUs, such as `Tesla V100-SXM2-16GB`."""
    return tuple(name for (name,) in query("name"))


def gpus() -> tuple[Gpu, ...]:
    """Return all GPUs in their present state: clocks change with load and temperature."""
    fields = "name,uuid,driver_version,clocks.sm,clocks.mem,power.limit,temperature.gpu"
    return tuple(Gpu(*row) for row in query(fields))


def gpu_name(device: str) -> str | None:
    """Return the name of the GPU with this index or start of a UUID, or None if there is none."""
    for index, uuid, name in query("index,uuid,name"):
        if device == index or (len(device) > 1 and uuid.startswith(device)):
            return name
    return None
