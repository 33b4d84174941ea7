"""How predictions are judged, and the ``results.json`` every run leaves behind."""
from .boundary import boundary_iou
from .boundary_metric import BoundaryMetric
from .confusion import confusion_matrix, segmentation_scores
from .results import ResultsHook
from .segmentation_metric import SegmentationMetric

__all__ = [
    'BoundaryMetric', 'ResultsHook', 'SegmentationMetric', 'boundary_iou', 'confusion_matrix', 'segmentation_scores'
]
