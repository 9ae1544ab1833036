"""Names of the files of a model."""

VERSION = "1"
MODEL_FILE = f"{VERSION}/model.onnx"
CONFIG_FILE = "config.pbtxt"
PROVENANCE_FILE = "provenance.json"
LARGEST_BYTES = 1 << 22  # of a config or provenance that is read
SEAL = "blake3_of_the_rest"
