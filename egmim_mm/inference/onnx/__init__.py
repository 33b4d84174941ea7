"""Models as ONNX files: export, and maps from them."""
