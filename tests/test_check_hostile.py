"""`check` on hostile, broken or outside files: a finding, no crash, nothing executed, nothing read outside."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from check_configs import CONFIG, errors
from helpers import SMALL_CONFIG, small_onnx, write_model

import tritongen
from generator.checker.findings import Finding
from generator.checker.rules.onnx_model import LARGEST_LOCATION
from generator.commands.check import not_judged

HOSTILE_NAMES = ["a b", "a%2Fb", 'quo"te', "new\nline", "ünï", "%s{}", "-rf", "::error::", "..."]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names(tritongen, tmp_path, name):
    """Hostile names load; a name that HTTP cannot reach is a warning; an annotation stays on one line."""
    write_model(tmp_path / "model_repository", name, CONFIG)
    ran = tritongen("check", "--github")
    assert ran.status == 0
    assert all(line.startswith("::warning ") for line in ran.stdout.splitlines())
    reachable = name in ("-rf", "...")
    assert (ran.stdout == "") == reachable


def test_the_line_of_a_nul(tmp_path):
    """A control character is refused with the line that it is in."""
    write_model(tmp_path, "net", "# one\n# two \0\n" + CONFIG)
    (found,) = errors(tritongen.check(tmp_path))
    assert (found.line, "Invalid control characters" in found.message) == (2, True)


def test_escaping_paths(tmp_path):
    """Paths of labels, data, models and links that leave the repository are reported, and not opened."""
    repository = tmp_path / "repository"
    outside = tmp_path / "outside.txt"
    outside.write_text("a\n")
    labels = CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "../../outside.txt"')
    write_model(repository, "labels", labels)
    warm = 'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] input_data_file: "%s" } } }'
    write_model(repository, "warmup", CONFIG + warm % "../../../outside.txt")
    model = small_onnx()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../outside.txt")
    write_model(repository, "external", CONFIG, model)
    tensor.external_data[0].value = "x" * (LARGEST_LOCATION + 1)
    write_model(repository, "long", CONFIG, model)
    write_model(repository, "filename", CONFIG + 'default_model_filename: "../../../outside.txt"')
    folder = write_model(repository, "linked", CONFIG)
    (folder / "1" / "model.onnx").unlink()
    (folder / "1" / "model.onnx").symlink_to(outside)
    (repository / "elsewhere").symlink_to(tmp_path)
    (write_model(repository, "config") / "config.pbtxt").unlink()
    (repository / "config" / "config.pbtxt").symlink_to(outside)
    opened = opened_files(repository)
    assert str(outside) not in opened
    found = {finding.model: finding for finding in tritongen.check(repository)}
    assert "is outside model directory" in found["labels"].message
    assert "'../../../outside.txt' are outside" in found["warmup"].message
    assert "has data outside the model's folder" in found["external"].message
    assert "has data outside the model's folder" in found["long"].message
    for name in ("filename", "linked", "elsewhere", "config"):
        assert "leads out of the repository, and was not read" in found[name].message
    assert errors(tritongen.check(repository, release="26.02"))


def opened_files(repository):
    """Return every file that a check opens, by Python's audit hook."""
    code = (
        "import sys, tritongen\nfrom generator.checker import model, repository\nopened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        f"tritongen.check({str(repository)!r})\nprint('\\n'.join(opened))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [os.path.realpath(line) for line in done.stdout.splitlines()]


def test_huge_and_broken_files(tmp_path):
    """A sparse 2 GB model, a 100 MB config, looping links, an aborting number: each is reported, in little memory."""
    folder = write_model(tmp_path, "sparse", CONFIG)
    with (folder / "1" / "model.onnx").open("wb") as file:
        file.truncate(2 << 30)
    with (write_model(tmp_path, "large", CONFIG) / "config.pbtxt").open("wb") as file:
        file.truncate(100 << 20)
    write_model(tmp_path, "deep", "a { " * 100_000)
    write_model(tmp_path, "binary", "")
    (tmp_path / "binary" / "config.pbtxt").write_bytes(b'name: "\xff"')
    folder = write_model(tmp_path, "loop", CONFIG)
    (folder / "2").symlink_to(folder / "3")
    (folder / "3").symlink_to(folder / "2")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (write_model(tmp_path, "abort", CONFIG) / "99999999999999999999").mkdir()
    (write_model(tmp_path, "folder") / "config.pbtxt").unlink()
    (tmp_path / "folder" / "config.pbtxt").mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {finding.model: finding for finding in errors(tritongen.check(tmp_path))}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    assert "Protobuf parsing failed" in found["sparse"].message
    assert "it has more than 4 MiB and was not read" in found["large"].message
    assert "failed to read text proto" in found["deep"].message
    assert "surrogates not allowed" in found["binary"].message
    assert found["binary"].message.isprintable()
    assert "failed to stat file" in found["broken"].message
    assert "std::out_of_range" in found["abort"].message
    assert "std::length_error" in found["folder"].message
    assert set(found) == {"sparse", "large", "deep", "binary", "broken", "abort", "folder"}


@pytest.mark.parametrize("name", ["config.pbtxt", "labels.txt", "1/model.onnx", "warmup/x"])
def test_pipes_are_not_opened(tmp_path, name):
    """A named pipe in place of a file is an error, and is not opened."""
    labels = CONFIG.replace("[ 1000 ]", '[ 1000 ] label_filename: "labels.txt"')
    sample = 'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 224, 224 ] input_data_file: "x" } } }'
    folder = write_model(tmp_path, "net", labels + sample)
    (folder / "warmup").mkdir()
    (folder / "labels.txt").write_text("a\n" * 1000)
    (folder / "warmup" / "x").write_bytes(bytes(4 * 3 * 224 * 224))
    assert errors(tritongen.check(tmp_path)) == []
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert errors(tritongen.check(tmp_path))


def test_unreadable_folder(tmp_path, monkeypatch):
    """An unreadable folder is a finding, and the other models are checked."""
    write_model(tmp_path, "closed", CONFIG)
    write_model(tmp_path, "good", CONFIG)
    listed = Path.iterdir

    def iterdir(path):  # root may read everything
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    (found,) = tritongen.check(tmp_path)
    assert (found.level, found.rule) == ("error", "unreadable")
    assert found.message == f"{tmp_path}/closed: permission denied"


def test_names_are_printed_safely(tritongen, tmp_path):
    """Escape sequences, line breaks and direction marks in a folder's name are shown as text."""
    name = "bad\x1b[31mred\x07\nnext\u202e"
    write_model(tmp_path / "model_repository", name, "x: 1")
    for arguments in ((), ("--github",)):
        ran = tritongen("check", *arguments)
        assert ran.status == 1
        assert all(char.isprintable() for char in ran.stdout.replace("\n", ""))
    assert ran.stdout.count("\n") == 1


def test_ignored_names(tmp_path):
    """A misnamed config, a misspelt parameter and a broken link are reported; version 0 is fine."""
    folder = write_model(tmp_path, "named", CONFIG)
    (folder / "config.pbtxt").rename(folder / "Config.pbtxt")
    write_model(tmp_path, "key", CONFIG + 'parameters { key: "intra_op_threads_count" value { string_value: "1" } }')
    (write_model(tmp_path, "link") / "config.pbtxt").unlink()
    (tmp_path / "link" / "config.pbtxt").symlink_to("nowhere")
    (write_model(tmp_path, "zero", CONFIG) / "1").rename(tmp_path / "zero" / "0")
    found = {finding.model: finding for finding in tritongen.check(tmp_path)}
    assert found["named"].message == "Config.pbtxt is not read"
    assert found["key"].fix == "did you mean intra_op_thread_count?"
    assert (found["link"].level, found["link"].rule) == ("error", "broken-link")
    assert "zero" not in found


@pytest.mark.parametrize(
    ("rules", "message", "run", "why"),
    [
        (["backend-is-not-judged"], "unable to find backend library", False, "it checks only a part of the model"),
        (["header-of"], "", False, "the embedded server's ONNX Runtime is a newer one"),
        ([], "Internal: onnx runtime error 1: no op", False, "only loading the model shows that: --run"),
        ([], "Internal: onnx runtime error 1: no op", True, None),
        (["check-io"], "", False, None),
        ([], "unexpected inference output 'x'", False, None),
    ],
)
def test_expected_differences_from_the_server(rules, message, run, why):
    """A difference is expected if check says that it cannot check the model, or did not run it."""
    found = [Finding("warning", "net", "net/config.pbtxt", None, rule, "", "") for rule in rules]
    reason = not_judged(found, message, run=run)
    assert reason is None if why is None else reason.startswith(why)


def test_git_lfs_pointer(tmp_path):
    """The hint for a pointer of Git LFS is the command that fetches the file."""
    folder = write_model(tmp_path, "net", CONFIG)
    (folder / "1" / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (found,) = errors(tritongen.check(tmp_path))
    assert found.fix == "it is a pointer of Git LFS: `git lfs pull`"


def test_openvino_is_in_the_image(tmp_path):
    """NVIDIA's image has the OpenVINO accelerator."""
    write_model(
        tmp_path,
        "net",
        SMALL_CONFIG + 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }',
    )
    assert errors(tritongen.check(tmp_path)) == []


@pytest.mark.parametrize("folder", ["net", "net/1", "empty"])
def test_not_a_repository(tritongen, tmp_path, folder):
    """A model's folder, a version's folder and an empty folder are not repositories."""
    (tmp_path / "empty").mkdir()
    write_model(tmp_path, "net", CONFIG)
    ran = tritongen("check", folder)
    assert ran.status == 1
    assert f"{folder} is not a model repository: " in ran.stderr


def test_nothing_is_executed(tmp_path):
    """A library and a model.py beside the model are not loaded; only the config is checked."""
    folder = write_model(tmp_path, "net", CONFIG.replace('"onnxruntime"', '"mine"'))
    (folder / "libtriton_mine.so").write_bytes(b"\x7fELF")
    python = write_model(tmp_path, "python", CONFIG.replace('"onnxruntime"', '"python"'))
    (python / "1" / "model.py").write_text("raise SystemExit('executed')")
    found = tritongen.check(tmp_path)
    assert [(finding.level, finding.rule) for finding in found] == [("warning", "backend-is-not-judged")] * 2


def test_no_torch_or_onnxruntime_without_run(tmp_path):
    """A check of files imports neither."""
    write_model(tmp_path, "net", CONFIG)
    code = (
        f"import sys, tritongen\ntritongen.check({str(tmp_path)!r})\n"
        "print(sorted({'torch', 'onnxruntime', 'onnxsim'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_findings_are_json(tmp_path):
    """A finding in JSON has each field by name."""
    write_model(tmp_path, "net", SMALL_CONFIG.replace("[ 1000 ]", "[ 1001 ]"))
    ran = subprocess.run(
        [sys.executable, "-m", "tritongen", "check", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    (finding,) = [entry for entry in json.loads(ran.stdout) if entry["level"] == "error"]
    assert finding == {
        "level": "error", "model": "net", "file": "net/config.pbtxt", "line": 5, "rule": "check-io", "stage": "load",
        "message": finding["message"], "fix": finding["fix"],
    }  # fmt: skip
