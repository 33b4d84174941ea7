"""How predictions are judged, and the ``results.json`` every run leaves behind."""
from .bootstrap import bootstrap_intervals
from .boundary import boundary_f1, boundary_iou, boundary_matches
from .boundary_metric import BoundaryMetric
from .confusion import confusion_matrix, segmentation_scores
from .results import ResultsHook
from .segmentation_metric import SegmentationMetric

__all__ = [
    'BoundaryMetric', 'ResultsHook', 'SegmentationMetric', 'bootstrap_intervals', 'boundary_f1', 'boundary_iou',
    'boundary_matches', 'confusion_matrix', 'segmentation_scores'
]
