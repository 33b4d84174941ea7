from .checkpointing import SafeCheckpointHook
from .finite_loss import FiniteLossHook
from .global_loss import GlobalLossHook
from .iteration import IterationSeedHook, MaskCurriculumHook
from .prediction_sheets import PredictionSheetsHook
from .reconstruction import ReconstructionHook
from .representation_health import RepresentationHealthHook
from .step_records import StepRecordsHook

__all__ = [
    'FiniteLossHook', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'PredictionSheetsHook',
    'ReconstructionHook', 'RepresentationHealthHook', 'SafeCheckpointHook', 'StepRecordsHook'
]
