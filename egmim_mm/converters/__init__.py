"""From downloads and rasters to trainable tiles: one module for each data set, started by tools/dataset_converters.

The published data sets are imported by module: they know the classes that configs name, and so load the whole stack.
"""
from .archives import ConversionError, Member
from .conversion import convert
from .folder import convert_folder
from .label_table import LabelTable
from .sources import Recipe, Source, pair_sources

__all__ = ['ConversionError', 'LabelTable', 'Member', 'Recipe', 'Source', 'convert', 'convert_folder', 'pair_sources']
