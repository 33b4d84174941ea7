"""Maps from a trained segmentation model: arrays in memory, rasters of any size, folders of them."""
from .onnx import OnnxSegmenter, export_onnx
from .polygons import write_polygons
from .predict_raster import predict_raster
from .run import load_segmenter, map_rasters
from .segmenter import Segmenter

__all__ = [
    'OnnxSegmenter', 'Segmenter', 'export_onnx', 'load_segmenter', 'map_rasters', 'predict_raster', 'write_polygons'
]
