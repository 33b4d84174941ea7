"""Analyses: one file each, numbers first, then a plot. None of them changes a model."""
from .probe import probe
from .probe_report import compare_backbones

__all__ = ['compare_backbones', 'probe']
