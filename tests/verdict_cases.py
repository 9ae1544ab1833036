"""Recorded verdicts of a real Triton 2.51.0 with the C++ onnxruntime backend on 107 repositories."""

import base64
import json

from helpers import DATA

RECORD = json.loads((DATA / "verdicts.json").read_text())
MODELS = {name: base64.b64decode(content) for name, content in RECORD["models"].items()}
CASES = {case["name"]: case for case in RECORD["cases"]}


def lay_out(case, repository):
    """Write the repository of a case, and return the model's folder."""
    folder = repository / case["name"]
    folder.mkdir(parents=True)
    for name in case["empty_dirs"]:
        (folder / name).mkdir(parents=True)
    for name, content in case["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MODELS[content["model"]] if "model" in content else content["text"].encode())
    return folder
