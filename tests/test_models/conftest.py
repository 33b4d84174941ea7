"""The package's own model configs, shrunk to a Swin of 8 to 64 channels for 64-px images."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from egmim_mm.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'models'
ARCH = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])


@pytest.fixture
def build():
    """Function: build ``configs/_base_/models/<name>.py`` at toy size; keywords override its parts or settings
    (``**{'backbone.arch.embed_dims': 16}``)."""

    def make(name='egmim_swin-base', seed=0, **options):
        init_default_scope('mmpretrain')
        whole = Config.fromfile(CONFIGS / f'{name}.py')
        cfg = whole.model
        cfg.backbone.update(arch=ARCH, img_size=64, window_size=4)
        whole.merge_from_dict({f'model.{key}': value for key, value in options.items()})
        cfg = whole.model
        for term in cfg.terms:
            if term.type == 'egmim_mm.StructureTerm':
                term.channels = 8
        torch.manual_seed(seed)
        model = MODELS.build(cfg)
        model.init_weights()
        model.set_iteration(0, 1000, 0)
        return model.train()

    return make


@pytest.fixture
def model_config():
    """Function: the model of ``configs/_base_/models/<name>.py`` as it is."""
    return lambda name: Config.fromfile(CONFIGS / f'{name}.py').model


@pytest.fixture
def normalized():
    """Function: RGB images in [0, 1] -> what the model's data preprocessor makes of them."""

    def make(images, model):
        preprocessor = model.data_preprocessor
        return (images * 255 - preprocessor.mean) / preprocessor.std

    return make
