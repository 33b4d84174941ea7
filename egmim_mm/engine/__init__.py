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

__all__ = [
    'FiniteLossHook', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'ReconstructionHook',
    'RepresentationHealthHook', 'SafeCheckpointHook', 'SwinLayerDecay'
]
