from .backbones import MaskedSwinTransformer
from .edge_guidance import EdgeGuidedMaskGenerator, EdgePrior
from .heads import EdgeStructureHead, EdgeWeightedReconstructionHead
from .losses import CellMSELoss, EdgeWeightedL1Loss
from .selfsup import EGMIM

__all__ = [
    'EGMIM', 'CellMSELoss', 'EdgeGuidedMaskGenerator', 'EdgePrior', 'EdgeStructureHead',
    'EdgeWeightedL1Loss', 'EdgeWeightedReconstructionHead', 'MaskedSwinTransformer'
]
