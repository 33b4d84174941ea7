"""Analyses: one file each, numbers first, then a plot. None of them changes a model."""
from .probe import probe
from .probe_report import compare_backbones
from .sheets import colorize, contact_sheet, draw_sheet, edge_to_rgb, hide_masked

__all__ = ['colorize', 'compare_backbones', 'contact_sheet', 'draw_sheet', 'edge_to_rgb', 'hide_masked', 'probe']
