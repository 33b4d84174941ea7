"""Comparisons of several runs: the strategies, and the quickstart, a fixed small one."""
from .strategies import STRATEGIES, Strategy

__all__ = ['STRATEGIES', 'Strategy']
