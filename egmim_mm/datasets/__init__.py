"""Data: imagery, labelled tiles, samplers, label budgets and transforms."""
from .edge_guided_mask import EdgeGuidedMask
from .imagery import UnlabeledTiles
from .label_budget import select_tiles
from .raster_crops import RasterCrops
from .samplers import LabelBudgetSampler, SampleIndex, StreamSampler
from .segmentation import SegmentationTiles
from .transforms import LoadTile, LoadTileMask, RandomQuarterTurn, RandomScaledCrop

__all__ = [
    'EdgeGuidedMask', 'LabelBudgetSampler', 'LoadTile', 'LoadTileMask', 'RandomQuarterTurn', 'RandomScaledCrop',
    'RasterCrops', 'SampleIndex', 'SegmentationTiles', 'StreamSampler', 'UnlabeledTiles', 'select_tiles'
]
