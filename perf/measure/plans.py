"""Plans: how long a point is measured, by profile and measurement.

`published` with `standard` measures as long as the published tables: 2,100 requests, of which the first 100 are not
counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perf.runs.types import Plan

if TYPE_CHECKING:
    from perf.runs.types import Profile

# fmt: off
PLANS: dict[tuple[Profile, str], Plan] = {
    #                                    warm-up requests rounds agreement span
    ("production", "quick"):    Plan("quick",    1,    10, 3,  8, 0.05, 15),
    ("production", "standard"): Plan("standard", 10,   50, 3, 10, 0.05, 30),
    ("published",  "quick"):    Plan("quick",    5,    50, 3,  8, 0.05, 15),
    ("published",  "standard"): Plan("standard", 100, 2000, 3, 10, 0.05, 30),
}
# fmt: on
MEASUREMENTS = ("quick", "standard")
PROFILES: tuple[Profile, ...] = ("production", "published")
