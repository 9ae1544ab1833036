"""The rules of Triton core and the ONNX Runtime backend, with the server's sentences."""
