"""The version of the package, on its own so that setup.py reads it without importing anything."""
__version__ = '0.1.0'
