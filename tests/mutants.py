"""Valid models with one to three random changes: fields dropped, doubled, retyped, renamed, files moved."""

import re
from dataclasses import dataclass

from helpers import onnx_model, small_onnx
from hypothesis import strategies as st

TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|[\w.+-]+|[{}\[\]:,]|\s+')
TENSORRT = """optimization { execution_accelerators { gpu_execution_accelerator {
  name: "tensorrt"
  parameters { key: "precision_mode" value: "FP16" }
} } }
"""
FULL = """name: "NAME"
backend: "onnxruntime"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 4, 4 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "labels.txt" }
instance_group { count: 1 kind: KIND_CPU }
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
version_policy { latest { num_versions: 1 } }
model_warmup { name: "warm" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 4, 4 ] zero_data: true } } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""
PRIORITIES = """name: "NAME"
backend: "onnxruntime"
max_batch_size: 4
input { name: "input" data_type: TYPE_FP32 dims: [ 3, 4, 4 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ 10 ] }
instance_group { count: 1 }
dynamic_batching {
  preferred_batch_size: 4
  priority_levels: 2
  default_priority_level: 1
  priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 10 } }
}
response_cache { enable: true }
"""
RESHAPED = """name: "NAME"
platform: "onnxruntime_onnx"
max_batch_size: 4
input { name: "input" data_type: TYPE_FP32 dims: [ 48 ] reshape { shape: [ 3, 4, 4 ] } }
output { name: "output" data_type: TYPE_FP32 dims: [ 10 ] }
instance_group { count: 1 kind: KIND_AUTO }
version_policy { specific { versions: [ 1 ] } }
"""
TWO = """name: "NAME"
backend: "onnxruntime"
max_batch_size: 0
input [ { name: "a" data_type: TYPE_FP32 dims: [ -1, 4 ] }, { name: "b" data_type: TYPE_INT64 dims: [ -1, 4 ] } ]
output [ { name: "c" data_type: TYPE_FP32 dims: [ -1, 4 ] }, { name: "d" data_type: TYPE_INT64 dims: [ -1, 4 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
BARE = 'backend: "onnxruntime"\nmax_batch_size: 2\ninstance_group { count: 1 }\n'
CONTROL = """name: "NAME"
backend: "onnxruntime"
max_batch_size: 4
input { name: "input" data_type: TYPE_FP32 dims: [ 3, 4, 4 ] }
output { name: "output" data_type: TYPE_FP32 dims: [ 10 ] }
instance_group { count: 1 }
batch_output { target_name: "output" kind: BATCH_SCATTER_WITH_INPUT_SHAPE source_input: "input" }
metric_tags { key: "a" value: "b" }
"""


def small():
    """Return a model from [N,3,4,4] to [N,10]."""
    model = small_onnx(classes=10)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], (4, 4), strict=True):
        dim.dim_value = size
    return model


def two():
    """Return a model that copies two inputs to two outputs."""
    return onnx_model(
        [("Identity", ["a"], ["c"]), ("Identity", ["b"], ["d"])],
        {"a": ["fp32", "N", 4], "b": ["int64", "N", 4]},
        {"c": ["fp32", "N", 4], "d": ["int64", "N", 4]},
    )


BASES = (
    (FULL + TENSORRT, small), (PRIORITIES, small), (RESHAPED, small), (TWO, two), (BARE, small), (CONTROL, small),
)  # fmt: skip
WORDS = (
    "-1", "0", "1", "2", "3", "4", "8", "9", "16", "3000000000", "99999999999999999999", "1.5", "8.0", "true",
    "0x8", "010", '"8"', '""', '"input"', '"output"', '"c"', '"nosuch"', '"labels.txt"', '"../labels.txt"', '"onnx"',
    '"ensemble"', '"tensorrt_plan"', '"NAME"', '"other/name"', "TYPE_FP32", "TYPE_FP16", "TYPE_INT64",
    "TYPE_STRING", "TYPE_BF16", "TYPE_INVALID", "FP32", "KIND_CPU", "KIND_GPU", "KIND_MODEL", "KIND_AUTO", "FORMAT_NHWC",
    "DELAY", "REJECT", "11", "name", "dims", "count", "kind", "gpus", "profile", "passive", "optional", "reshape", "shape",
    "is_shape_tensor", "allow_ragged_batch", "is_non_linear_format_io", "preserve_ordering", "max_batch_size", "platform",
    "backend", "runtime", "input", "output", "all", "latest", "specific", "decoupled", "random_data", "input_data_file",
)  # fmt: skip
LINES = (
    "max_batch_size: 8", "sequence_batching { }", "response_cache { enable: true }", "foo: 1", "}", "{", "# nothing",
    'default_model_filename: "net.onnx"', "model_transaction_policy { decoupled: true }", 'platform: "ensemble"',
    "instance_group { kind: KIND_GPU }", "instance_group { gpus: [ 0 ] }", 'instance_group { profile: "0" }',
    "version_policy { all { } }", "version_policy { specific { versions: [ 1, 7 ] } }", "version_policy { latest { } }",
    "dynamic_batching { preserve_ordering: true }", "dynamic_batching { }", 'metric_tags { key: "a" value: "b" }',
    'model_repository_agents { agents { name: "nope" } }', 'cc_model_filenames { key: "7.0" value: "x.onnx" }',
    'parameters { key: "execution_mode" value { string_value: "2" } }', 'ensemble_scheduling { step { model_name: "x" } }',
    'parameters { key: "enable_mem_pattern" value { string_value: "maybe" } }', "optimization { graph { level: 9 } }",
    'optimization { execution_accelerators { cpu_execution_accelerator { name: "foo" } } }', "model_metrics { metric_control { } }",
    'model_warmup { name: "w" batch_size: 9 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 4, 4 ] zero_data: true } } }',
    'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 4 ] zero_data: true } } }',
    'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } }',
    'model_warmup { name: "w" batch_size: 0 }', 'model_warmup { name: "w" batch_size: 1 }', 'runtime: "model.py"',
    'model_warmup { name: "w" batch_size: 1 inputs { key: "input" value { data_type: TYPE_FP32 dims: [ 3, 4, 4 ] input_data_file: "w" } } }',
    'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "nosuch" }',
)  # fmt: skip
FOLDERS = ("01", "0", "2", "-1", "1abc", "abc", "+1", " 1", "1.5", "007", "configs", "warmup", "9" * 18)
FILES = ("labels.txt", "1/model.onnx", "config.pbtxt", "1")


@dataclass(frozen=True)
class Mutant:
    """A config with NAME as the model's name, the index of its base model, and the changes to its files."""

    text: str
    base: int
    files: tuple[tuple[str, str], ...]


NUMBER = re.compile(r"-?\d[\w.]*")
OF_KIND = {
    "number": ("-1", "0", "1", "2", "3", "4", "8", "9", "16", "010", "1.5"),
    "text": tuple(word for word in WORDS if word.startswith('"')),
    **{kind: tuple(word for word in WORDS if word.startswith(kind)) for kind in ("TYPE_", "KIND_", "FORMAT_")},
    "word": ("true", "false", "DELAY", "REJECT"),
}


def fields(tokens):
    """Return the first and last index of each field, from its name to the end of its value."""
    spans, opened, starts = [], [], []
    for place, token in enumerate(tokens):
        if token in "{[":
            opened.append(place)
            starts.append(len(spans))
        elif token in "}]" and opened:
            opened.pop()
            first = spans[starts.pop() - 1][0] if spans else place
            spans.append((first, place))
        elif re.match(r"[a-z]", token) and any(
            after in ":{[" for after in tokens[place + 1 : place + 3] if after.strip()
        ):
            spans.append((place, value_end(tokens, place)))
    return spans


def value_end(tokens, place):
    """Return the index of the last token of a plain value, or of the name of a message."""
    for end in range(place + 1, min(place + 5, len(tokens))):
        if tokens[end] in "{[":
            return place
        if re.match(r'["\w-]', tokens[end]):
            return end
    return place


def kind_of(token):
    """Return the key of OF_KIND for a number, text or enumeration value; None for names and signs."""
    if NUMBER.fullmatch(token):
        return "number"
    if token.startswith('"'):
        return "text"
    prefix = f"{token.partition('_')[0]}_"
    return prefix if prefix in OF_KIND else "word" if token in OF_KIND["word"] else None


@st.composite
def mutants(draw):
    """Draw a valid model with one to three changes; most leave a text that can be parsed."""
    base = draw(st.integers(0, len(BASES) - 1))
    tokens = TOKEN.findall(BASES[base][0])
    files = []
    for _ in range(draw(st.integers(1, 3))):
        change = draw(st.sampled_from(CHANGES))
        if change == "file":
            what = draw(st.sampled_from(("remove", "rename", "empty", "add")))
            files.append((what, draw(st.sampled_from(FOLDERS if what in ("rename", "add") else FILES))))
        elif change == "line":
            tokens.append(f"\n{draw(st.sampled_from(LINES))}\n")
        elif change in ("drop field", "double field"):
            first, last = draw(st.sampled_from(fields(tokens) or [(0, 0)]))
            part = tokens[first : last + 1]
            tokens[first : last + 1] = [] if change == "drop field" else [*part, " ", *part]
        elif change == "value":
            places = [place for place, token in enumerate(tokens) if kind_of(token)]
            if places:
                place = draw(st.sampled_from(places))
                tokens[place] = draw(st.sampled_from(OF_KIND[kind_of(tokens[place])]))
        else:
            break_token(draw, change, tokens)
        tokens = TOKEN.findall("".join(tokens)) or [" "]
    return Mutant("".join(tokens), base, tuple(files))


CHANGES = (*("value",) * 8, *("line",) * 5, *("drop field",) * 4, *("double field",) * 2, *("file",) * 2, "drop", "double",
           "replace", "insert", "swap")  # fmt: skip


def break_token(draw, change, tokens):
    """Change one token, which mostly breaks the text."""
    at, other = (draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
    match change:
        case "drop":
            del tokens[at]
        case "double":
            tokens.insert(at, f" {tokens[at]} ")
        case "replace":
            tokens[at] = draw(st.sampled_from(WORDS))
        case "insert":
            tokens.insert(at, f" {draw(st.sampled_from(WORDS))} ")
        case "swap":
            tokens[at], tokens[other] = tokens[other], tokens[at]


def lay_out(mutant, repository, name):
    """Write a mutant's folder and return it."""
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(BASES[mutant.base][1]().SerializeToString())
    (folder / "labels.txt").write_text("\n".join(map(str, range(10))))
    (folder / "config.pbtxt").write_text(mutant.text.replace("NAME", name))
    for what, target in mutant.files:
        path = folder / target
        if what == "add":
            path.mkdir(exist_ok=True)
        elif what == "rename" and (folder / "1").is_dir() and not path.exists():
            (folder / "1").rename(path)
        elif what == "remove" and path.is_file():
            path.unlink()
        elif what == "empty" and path.is_file():
            path.write_bytes(b"")
    return folder
