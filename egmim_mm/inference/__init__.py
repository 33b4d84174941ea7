"""Maps from a trained segmentation model: arrays in memory, and rasters of any size."""
from .onnx.segmenter import OnnxSegmenter
from .polygons import write_polygons
from .predict_raster import predict_raster
from .segmenter import Segmenter

__all__ = ['OnnxSegmenter', 'Segmenter', 'predict_raster', 'write_polygons']
