"""Models as ONNX files: export, and maps from them."""
from .export import export_onnx
from .segmenter import OnnxSegmenter

__all__ = ['OnnxSegmenter', 'export_onnx']
