"""Fixtures for the whole suite."""
import os
import signal
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


@pytest.fixture(autouse=True)
def handlers():
    """Tools that run inside this process leave their handlers of Ctrl-C behind."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def toy_config():
    """Function: config of a model of a few thousand parameters for 64-px images; keywords override its settings."""
    from mmengine.config import Config

    def make(name: str = 'egmim_swin-pico', **options) -> Config:
        cfg = Config.fromfile(REPOSITORY / 'configs/_base_/models' / f'{name}.py')
        cfg.default_scope = 'mmpretrain'
        cfg.model.backbone.update(arch=dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4]), img_size=64,
                                  window_size=2)
        cfg.merge_from_dict(dict(model=options))
        for term in cfg.model.terms:
            if term.type == 'egmim_mm.StructureTerm':
                term.channels = 8
        return cfg

    return make


@pytest.fixture
def toy_egmim(toy_config):
    """Function: the model of ``toy_config`` with the same random weights each time, in eval mode."""
    import torch

    from egmim_mm.pictures.pretraining import build_model

    def build(name: str = 'egmim_swin-pico', **options):
        torch.manual_seed(0)
        return build_model(toy_config(name, **options))

    return build


@pytest.fixture
def write_image():
    """Function: write an array, (H, W) or (H, W, 3) uint8, as an image and return its path as str."""

    def write(path: Path, array: np.ndarray, **options) -> str:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path, **options)
        return str(path)

    return write
