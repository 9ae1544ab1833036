"""ONNX graphs: exported, simplified, rewritten, read and written."""
