"""Data: imagery, labelled tiles, samplers, label budgets and transforms."""
from .edge_guided_mask import EdgeGuidedMask
from .geometric import RandomMirror, RandomQuarterTurn, RandomScaledCrop
from .imagery import UnlabeledTiles
from .label_budget import select_tiles
from .mixed_batches import MixedLabelBudgetSampler
from .packing import PackTiles, TileSample, stack_tiles
from .photometric import PhotoMetricDistortion
from .public import ISAID, LoveDA, Potsdam, Vaihingen
from .raster_crops import RasterCrops
from .samplers import LabelBudgetSampler, SampleIndex, StreamSampler
from .segmentation import SegmentationTiles
from .sparse_labels import SparseLabels
from .transforms import LoadTile, LoadTileMask

__all__ = [
    'EdgeGuidedMask', 'ISAID', 'LabelBudgetSampler', 'LoadTile', 'LoadTileMask', 'LoveDA', 'MixedLabelBudgetSampler',
    'PackTiles', 'PhotoMetricDistortion', 'Potsdam', 'RandomMirror', 'RandomQuarterTurn', 'RandomScaledCrop',
    'RasterCrops', 'SampleIndex', 'SegmentationTiles', 'SparseLabels', 'StreamSampler', 'TileSample', 'UnlabeledTiles',
    'Vaihingen', 'select_tiles', 'stack_tiles'
]
