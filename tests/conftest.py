"""Fixtures for the whole suite."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder with real imagery beside the repository; the tests that use it are skipped without it."""
    folder = REPOSITORY.parent / 'shared' / 'data'
    if not folder.is_dir():
        reason = f'real imagery is not there: {folder}'
        if os.environ.get('EGMIM_REQUIRE_SHARED') == '1':
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def write_image():
    """Function: write an array, (H, W) or (H, W, 3) uint8, as an image and return its path as str."""

    def write(path: Path, array: np.ndarray, **options) -> str:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path, **options)
        return str(path)

    return write
