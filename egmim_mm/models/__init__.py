from .backbones import MaskedSwinTransformer, MaskedSwinTransformerV2
from .data_preprocessor import BandDataPreprocessor
from .edge_guidance import EdgeGuidedMaskGenerator, EdgePrior
from .heads import EdgeStructureHead, EdgeWeightedReconstructionHead
from .losses import CellMSELoss, CosineAnchorLoss, EdgeWeightedL1Loss, GradientL1Loss, LabelledCrossEntropyLoss
from .selfsup import EGMIM

__all__ = [
    'EGMIM', 'BandDataPreprocessor', 'CellMSELoss', 'CosineAnchorLoss', 'EdgeGuidedMaskGenerator', 'EdgePrior',
    'EdgeStructureHead', 'EdgeWeightedL1Loss', 'EdgeWeightedReconstructionHead', 'GradientL1Loss',
    'LabelledCrossEntropyLoss', 'MaskedSwinTransformer', 'MaskedSwinTransformerV2'
]
