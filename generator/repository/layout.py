"""The names of files in a model repository."""

VERSION = "1"


MODEL_FILE = f"{VERSION}/model.onnx"


CONFIG_FILE = "config.pbtxt"


PROVENANCE_FILE = "provenance.json"


LARGEST_BYTES = 1 << 22


SEAL = "blake3_of_the_rest"
