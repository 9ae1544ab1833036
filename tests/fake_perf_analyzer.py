#!/usr/bin/env python3
"""(Fake perf_analyzer.) Passes its call on to the real one; for a model of a given name it crashes, hangs, or stalls.

REAL names the real one; CRASH, HANG and STALL the model that it treats so (to stall: the real one answers, and no end
comes; TIMES: how often); it says the version of the real one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

arguments = sys.argv[1:]
model = arguments[arguments.index("-m") + 1] if "-m" in arguments else None
if model and model == os.environ.get("CRASH"):
    sys.stderr.write("error: it was told to\n")
    sys.exit(99)
if model and model == os.environ.get("HANG"):
    time.sleep(3600)
stalled = len(list(Path().glob("stalled*")))
if model and model == os.environ.get("STALL") and stalled < int(os.environ["TIMES"]):
    Path(f"stalled{stalled}").touch()
    subprocess.run([os.environ["REAL"], *arguments], check=True)
    time.sleep(3600)
os.execv(os.environ["REAL"], [os.environ["REAL"], *arguments])  # noqa: S606
