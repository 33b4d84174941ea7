"""What stops a conversion."""

__all__ = ['ConversionError']


class ConversionError(ValueError):
    """A download, a raster or a target folder that cannot be used; the message says what to do."""
