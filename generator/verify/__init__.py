"""Verify an ONNX graph against the network that it was made from."""
