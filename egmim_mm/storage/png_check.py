"""Whether a PNG is whole: GDAL gives the pixels that a truncated one has no data for as zeros, without a word."""
import io
import struct
from pathlib import Path

from PIL.PngImagePlugin import PngImageFile

from .tile_reading import TileReadError

__all__ = ['check_png']


def check_png(path: str | Path, content: bytes | None = None) -> None:
    """Read all of a PNG file's chunks, without decoding: no size is too large.

    Args:
        path: The file, for messages, and to read when ``content`` is None.
        content: Its bytes.

    Raises:
        TileReadError: Truncated or damaged.
    """
    try:
        PngImageFile(path if content is None else io.BytesIO(content)).verify()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise TileReadError(f'{path}: truncated or damaged ({error})') from error
