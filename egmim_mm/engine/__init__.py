from .hooks import FiniteLossHook, IterationSeedHook, MaskCurriculumHook, SafeCheckpointHook

__all__ = ['FiniteLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'SafeCheckpointHook']
