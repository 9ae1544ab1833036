#!/usr/bin/env python3
"""(Fake perf_analyzer.) Passes its call on to the real one; for a model of a given name it crashes, or hangs.

REAL names the real one, CRASH and HANG the model that it treats so; it says the version of the real one.
"""

import os
import sys
import time

arguments = sys.argv[1:]
model = arguments[arguments.index("-m") + 1] if "-m" in arguments else None
if model and model == os.environ.get("CRASH"):
    sys.stderr.write("error: it was told to\n")
    sys.exit(99)
if model and model == os.environ.get("HANG"):
    time.sleep(3600)
os.execv(os.environ["REAL"], [os.environ["REAL"], *arguments])  # noqa: S606
