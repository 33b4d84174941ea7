from egmim_mm.batch_augmentation import BatchAugmentation

from .backbones import MaskedSwinTransformer, MaskedSwinTransformerV2
from .data_preprocessor import BandDataPreprocessor
from .edge_guidance import EdgeGuidedMaskGenerator, EdgePrior
from .egmim import EGMIM
from .fitted_encoder_decoder import FittedEncoderDecoder
from .losses import CellMSELoss, CosineAnchorLoss, EdgeWeightedL1Loss, GradientL1Loss, LabelledCrossEntropyLoss
from .readout_head import ReadoutHead
from .segmentation_heads import FCNHead, UPerHead
from .segmentors import MeanTeacherSegmentor
from .terms import (
    AnchorTerm,
    EdgeAffinityTerm,
    EdgeStructureHead,
    EdgeWeightedReconstructionHead,
    GradientTerm,
    HardnessTerm,
    LossTerm,
    MaskedBatch,
    PixelTerm,
    SkillBalance,
    StageEdgesTerm,
    StagePixelsTerm,
    StructureTerm,
    TeacherTerm,
    TermBalance,
    VarianceCovarianceTerm,
)
from .tile_preprocessor import TilePreprocessor
from .visible_decoder import VisibleDecoder

__all__ = [
    'EGMIM', 'AnchorTerm', 'BandDataPreprocessor', 'BatchAugmentation', 'CellMSELoss', 'CosineAnchorLoss',
    'EdgeAffinityTerm', 'EdgeGuidedMaskGenerator', 'EdgePrior', 'EdgeStructureHead', 'EdgeWeightedL1Loss',
    'EdgeWeightedReconstructionHead', 'FCNHead', 'FittedEncoderDecoder', 'GradientL1Loss', 'GradientTerm',
    'HardnessTerm', 'LabelledCrossEntropyLoss', 'LossTerm', 'MaskedBatch', 'MaskedSwinTransformer',
    'MaskedSwinTransformerV2', 'MeanTeacherSegmentor', 'PixelTerm', 'ReadoutHead', 'SkillBalance', 'StageEdgesTerm',
    'StagePixelsTerm', 'StructureTerm', 'TeacherTerm', 'TermBalance', 'TilePreprocessor', 'UPerHead',
    'VarianceCovarianceTerm', 'VisibleDecoder'
]
