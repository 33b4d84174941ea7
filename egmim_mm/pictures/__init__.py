"""Sheets that people look at: training data, pretraining, predictions."""
from .sheets import colorize, contact_sheet, draw_sheet, edge_to_rgb, hide_masked

__all__ = ['colorize', 'contact_sheet', 'draw_sheet', 'edge_to_rgb', 'hide_masked']
