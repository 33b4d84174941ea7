"""The terms of EGMIM's loss, one file each, and their balance."""
from .affinity import EdgeAffinityTerm
from .anchor import AnchorTerm
from .balance import TermBalance
from .base import LossTerm, MaskedBatch, to_pixels
from .gradient import GradientTerm
from .pixel import EdgeWeightedReconstructionHead, PixelTerm
from .structure import EdgeStructureHead, StructureTerm

__all__ = [
    'AnchorTerm', 'EdgeAffinityTerm', 'EdgeStructureHead', 'EdgeWeightedReconstructionHead', 'GradientTerm', 'LossTerm',
    'MaskedBatch', 'PixelTerm', 'StructureTerm', 'TermBalance', 'to_pixels'
]
