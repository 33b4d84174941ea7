"""A segmentation model whose every pixel is judged alone: its map must not depend on windows or overlap."""
import numpy as np
import pytest
import rasterio
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from rasterio.transform import Affine

COLORS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]
BACKBONE = """
from mmseg.registry import MODELS
from torch import nn


@MODELS.register_module(force=True)
class PixelBackbone(nn.Module):
    def __init__(self, in_channels=3):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 1)

    def forward(self, x):
        return (self.conv(x).relu(), )
"""
CONFIG = """
custom_imports = dict(imports=['pixel_backbone'])
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean={mean}, std={std}, bgr_to_rgb={flip}),
    backbone=dict(type='PixelBackbone', in_channels={bands}),
    decode_head=dict(type='FCNHead', in_channels=6, channels=6, num_convs=0, concat_input=False, num_classes=4,
                     align_corners=False, norm_cfg=dict(type='SyncBN')),
    train_cfg=dict(), test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(48, 48)))
test_dataloader = dict(dataset=dict(type='egmim_mm.SegmentationTiles', metainfo=dict(
    classes=('a', 'b', 'c', 'd'), palette={colors})))
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Function: (config, checkpoint) of a model for images of ``bands`` bands."""

    def make(bands: int = 3):
        from egmim_mm.registry import MODELS
        (tmp_path / 'pixel_backbone.py').write_text(BACKBONE)
        monkeypatch.syspath_prepend(str(tmp_path))
        config, checkpoint = tmp_path / f'toy_{bands}.py', tmp_path / f'toy_{bands}.pth'
        config.write_text(CONFIG.format(bands=bands, flip=bands == 3, mean=[110., 120., 130.] if bands == 3 else [120.],
                                        std=[50., 60., 70.] if bands == 3 else [60.], colors=COLORS))
        torch.manual_seed(3)
        with DefaultScope.overwrite_default_scope('mmseg'):
            torch.save(dict(state_dict=MODELS.build(Config.fromfile(config).model).state_dict()), checkpoint)
        return config, checkpoint

    return make


@pytest.fixture
def segmenter(toy):
    """The model for RGB."""
    from egmim_mm.inference import Segmenter
    return Segmenter(*toy(), device='cpu')


@pytest.fixture
def write_raster():
    """Function: write (H, W, C) pixels as GeoTIFF with a rotated transform in UTM 32; keywords go to rasterio."""

    def write(path, pixels, **options):
        pixels = np.moveaxis(np.atleast_3d(pixels), -1, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        place = dict(crs='EPSG:32632', transform=Affine(0.3, 0.1, 500_000, 0.1, -0.3, 5_400_000))
        with rasterio.open(path, 'w', **{**dict(driver='GTiff', height=pixels.shape[1], width=pixels.shape[2],
                                                count=len(pixels), dtype=pixels.dtype), **place, **options}) as file:
            file.write(pixels)
        return path

    return write


@pytest.fixture
def noise():
    """Function: random (H, W, bands) uint8."""
    return lambda height, width, bands=3: np.random.default_rng(0).integers(0, 256, (height, width, bands), np.uint8)
