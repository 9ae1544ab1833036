"""An ONNX graph compared with the network that it came from."""
