from .checkpointing import SafeCheckpointHook
from .class_weights import ClassWeightsHook
from .edge_floor import EdgeFloorHook
from .finite_loss import FiniteLossHook
from .frozen_backbone import FrozenBackboneHook
from .global_loss import GlobalLossHook
from .iteration import IterationSeedHook, MaskCurriculumHook
from .mean_teacher import MeanTeacherHook
from .prediction_sheets import PredictionSheetsHook
from .reconstruction import ReconstructionHook
from .representation_health import RepresentationHealthHook
from .step_records import StepRecordsHook

__all__ = [
    'ClassWeightsHook', 'EdgeFloorHook', 'FiniteLossHook', 'FrozenBackboneHook', 'GlobalLossHook',
    'IterationSeedHook', 'MaskCurriculumHook', 'MeanTeacherHook', 'PredictionSheetsHook', 'ReconstructionHook',
    'RepresentationHealthHook', 'SafeCheckpointHook', 'StepRecordsHook'
]
