"""What every room writes with: provenance, whole files, tables.

``provenance`` imports torch and is not imported here: scenes are painted and tables printed without it.
"""
from .tables import table_console
from .whole_files import whole_file, write_whole

__all__ = ['table_console', 'whole_file', 'write_whole']
