"""The terms of EGMIM's loss, one file each, and their balance."""
from .affinity import EdgeAffinityTerm
from .anchor import AnchorTerm
from .balance import SkillBalance, TermBalance
from .base import LossTerm, MaskedBatch, to_pixels
from .gradient import GradientTerm
from .hardness import HardnessTerm
from .pixel import EdgeWeightedReconstructionHead, PixelTerm
from .stages import StageEdgesTerm, StagePixelsTerm
from .structure import EdgeStructureHead, StructureTerm
from .teacher import TeacherTerm
from .variance import VarianceCovarianceTerm

__all__ = [
    'AnchorTerm', 'EdgeAffinityTerm', 'EdgeStructureHead', 'EdgeWeightedReconstructionHead', 'GradientTerm',
    'HardnessTerm', 'LossTerm', 'MaskedBatch', 'PixelTerm', 'SkillBalance', 'StageEdgesTerm', 'StagePixelsTerm',
    'StructureTerm', 'TeacherTerm', 'TermBalance', 'VarianceCovarianceTerm', 'to_pixels'
]
