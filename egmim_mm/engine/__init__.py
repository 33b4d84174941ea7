from .hooks import (
    FiniteLossHook,
    GlobalLossHook,
    IterationSeedHook,
    MaskCurriculumHook,
    ReconstructionHook,
    RepresentationHealthHook,
    SafeCheckpointHook,
)

__all__ = [
    'FiniteLossHook', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'ReconstructionHook',
    'RepresentationHealthHook', 'SafeCheckpointHook'
]
