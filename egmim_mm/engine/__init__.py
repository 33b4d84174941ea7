from .global_batch import GlobalBatchLoop
from .hooks import (
    FiniteLossHook,
    GlobalLossHook,
    IterationSeedHook,
    MaskCurriculumHook,
    ReconstructionHook,
    RepresentationHealthHook,
    SafeCheckpointHook,
    StepRecordsHook,
)
from .layer_decay import SwinLayerDecay
from .optim_wrapper import AutocastOptimWrapper
from .optimizer_groups import MergedGroups

__all__ = [
    'AutocastOptimWrapper', 'FiniteLossHook', 'GlobalBatchLoop', 'GlobalLossHook', 'IterationSeedHook',
    'MaskCurriculumHook', 'MergedGroups', 'ReconstructionHook', 'RepresentationHealthHook', 'SafeCheckpointHook',
    'StepRecordsHook', 'SwinLayerDecay'
]
