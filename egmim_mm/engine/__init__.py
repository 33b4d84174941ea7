from .hooks import FiniteLossHook, GlobalLossHook, IterationSeedHook, MaskCurriculumHook, SafeCheckpointHook

__all__ = ['FiniteLossHook', 'GlobalLossHook', 'IterationSeedHook', 'MaskCurriculumHook', 'SafeCheckpointHook']
