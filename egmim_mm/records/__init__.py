"""What every room writes with: provenance, whole files, tables.

``provenance`` imports torch and is not imported here: scenes are painted and tables printed without it.
"""
from .tables import print_table
from .whole_files import whole_file, write_whole

__all__ = ['print_table', 'whole_file', 'write_whole']
