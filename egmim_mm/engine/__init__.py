from .global_batch import GlobalBatchLoop
from .hooks import (
    ClassWeightsHook,
    EdgeFloorHook,
    FiniteLossHook,
    FrozenBackboneHook,
    GlobalLossHook,
    IterationSeedHook,
    MaskCurriculumHook,
    MeanTeacherHook,
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
    'AutocastOptimWrapper', 'ClassWeightsHook', 'EdgeFloorHook', 'FiniteLossHook', 'FrozenBackboneHook',
    'GlobalBatchLoop', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'MeanTeacherHook', 'MergedGroups',
    'ReadoutLoop', 'ReconstructionHook', 'RepresentationHealthHook', 'SafeCheckpointHook', 'StepRecordsHook',
    'SwinLayerDecay'
]
