from .reconstruction import EdgeWeightedReconstructionHead
from .structure import EdgeStructureHead

__all__ = ['EdgeStructureHead', 'EdgeWeightedReconstructionHead']
