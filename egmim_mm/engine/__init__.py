from .global_batch import GlobalBatchLoop
from .hooks import (
    ClassWeightsHook,
    FiniteLossHook,
    FrozenBackboneHook,
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
from .readout_loop import ReadoutLoop

__all__ = [
    'AutocastOptimWrapper', 'ClassWeightsHook', 'FiniteLossHook', 'FrozenBackboneHook', 'GlobalBatchLoop',
    'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'MergedGroups', 'ReadoutLoop', 'ReconstructionHook',
    'RepresentationHealthHook', 'SafeCheckpointHook', 'StepRecordsHook', 'SwinLayerDecay'
]
