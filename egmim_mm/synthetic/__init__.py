"""Synthetic aerial scenes with exact masks, for trying things out without any data."""
from .classes import CLASSES, METAINFO, PALETTE
from .scene import make_scene
from .writer import write_dataset

__all__ = ['CLASSES', 'METAINFO', 'PALETTE', 'make_scene', 'write_dataset']
