from .egmim import EGMIM

__all__ = ['EGMIM']
