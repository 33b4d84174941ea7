from .cell_mse import CellMSELoss
from .edge_weighted_l1 import EdgeWeightedL1Loss

__all__ = ['CellMSELoss', 'EdgeWeightedL1Loss']
