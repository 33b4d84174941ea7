from .cell_mse import CellMSELoss
from .cosine_anchor import CosineAnchorLoss
from .edge_weighted_l1 import EdgeWeightedL1Loss
from .gradient_l1 import GradientL1Loss
from .labelled_cross_entropy import LabelledCrossEntropyLoss

__all__ = ['CellMSELoss', 'CosineAnchorLoss', 'EdgeWeightedL1Loss', 'GradientL1Loss', 'LabelledCrossEntropyLoss']
