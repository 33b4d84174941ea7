from .hooks import (
    FiniteLossHook,
    GlobalLossHook,
    IterationSeedHook,
    MaskCurriculumHook,
    ReconstructionHook,
    RepresentationHealthHook,
    SafeCheckpointHook,
)
from .layer_decay import SwinLayerDecay
from .optimizer_groups import MergedGroups

__all__ = [
    'FiniteLossHook', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'MergedGroups',
    'ReconstructionHook', 'RepresentationHealthHook', 'SafeCheckpointHook', 'SwinLayerDecay'
]
