from .checkpointing import SafeCheckpointHook
from .finite_loss import FiniteLossHook
from .iteration import IterationSeedHook, MaskCurriculumHook

__all__ = ['FiniteLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'SafeCheckpointHook']
