"""`check` on a repository of all ten networks: seconds after the imports, and the largest memory of the process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
CHECK = """
import resource, sys, time
from generator.checker import repository
begun = time.perf_counter()
findings = repository.check(sys.argv[1])
print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(findings))
"""


def main() -> None:
    """Build the ten networks, and check them in five processes."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        build = [sys.executable, "-m", "tritongen", "build", "--models", "all", "--output", str(repository)]
        subprocess.run(build, check=True, capture_output=True)
        size_gb = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file()) / 1e9
        rounds = [checked(repository) for _ in range(ROUNDS)]
    seconds, megabytes, findings = zip(*rounds, strict=True)
    print(f"check: ten networks of {size_gb:.1f} GB, five configs each, {findings[0]:.0f} findings, {ROUNDS} processes")
    print(f"  {statistics.median(seconds):.2f} s after the imports ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"  {max(megabytes):.0f} MB of memory at most")


def checked(repository: Path) -> tuple[float, ...]:
    """Seconds, megabytes and findings of one check."""
    done = subprocess.run([sys.executable, "-c", CHECK, str(repository)], check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()))


if __name__ == "__main__":
    main()
