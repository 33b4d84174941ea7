from .checkpointing import SafeCheckpointHook
from .finite_loss import FiniteLossHook
from .global_loss import GlobalLossHook
from .iteration import IterationSeedHook, MaskCurriculumHook

__all__ = ['FiniteLossHook', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'SafeCheckpointHook']
