"""Export, simplify, rewrite, read and write ONNX graphs."""
