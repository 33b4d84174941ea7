"""The stock UperNet has the weights of ours: the same weights give the same losses, also after an update."""
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS as MMSEG
from mmseg.structures import SegDataSample

from egmim_mm.benchmark.stock_models import stock_upernet
from egmim_mm.engine.device import adapt_to_device
from egmim_mm.registry import MODELS
from egmim_mm.synthetic import make_scene

BASE = Path(__file__).parents[2] / 'configs/_base_'


@pytest.fixture
def config():
    cfg = Config.fromfile(BASE / 'models/upernet_swin-tiny.py')
    cfg.optim_wrapper = Config.fromfile(BASE / 'schedules/finetune.py').optim_wrapper
    cfg.model.backbone.update(arch=dict(embed_dims=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4]), img_size=64)
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.channels = 8
    cfg.model.data_preprocessor.size = (64, 64)
    return cfg


def labelled_scenes(batch, size, classes):
    """As a loader hands them over."""
    inputs, samples = [], []
    for seed in range(batch):
        image, mask = make_scene(seed, size)
        inputs.append(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
        samples.append(SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size))))
        samples[-1].gt_sem_seg = PixelData(data=torch.from_numpy(mask).long()[None] % classes)
    return dict(inputs=inputs, data_samples=samples)


def test_stock_computes_what_ours_computes(config):
    batch = labelled_scenes(3, 64, 5)
    config.optim_wrapper.precision = 'float32'
    stock_config = Config(dict(model=stock_upernet(config.model), optim_wrapper=dict(
        type='OptimWrapper', optimizer=config.optim_wrapper.optimizer.to_dict())))
    models, wrappers = [], []
    init_default_scope('mmseg')
    for cfg, registry in ((config, MODELS), (stock_config, MMSEG)):
        adapt_to_device(cfg)
        models.append(registry.build(cfg.model).train())
        wrappers.append(build_optim_wrapper(models[-1], cfg.optim_wrapper))
    ours, stock = models
    assert type(stock.backbone).__module__.startswith('mmseg.')
    assert type(stock.data_preprocessor).__name__ == 'SegDataPreProcessor'
    assert [type(h).__module__.split('.')[0] for h in (stock.decode_head, stock.auxiliary_head)] == ['mmseg', 'mmseg']
    assert [h.loss_decode.loss_weight for h in (stock.decode_head, stock.auxiliary_head)] == [1.0, 0.4]
    ours.init_weights()
    index = {key: value for key, value in stock.state_dict().items() if key.endswith('relative_position_index')}
    stock.load_state_dict(ours.state_dict() | index)  # the index is made otherwise
    assert len(index) == 5 and sum(p.numel() for p in stock.parameters()) > 10_000
    for _ in range(2):  # the second shows that the update was the same
        losses = []
        for model, wrapper in zip(models, wrappers):
            torch.manual_seed(0)  # of drop path and dropout
            losses.append(model.train_step(batch, wrapper))
        assert losses[0].keys() == losses[1].keys()
        # not the accuracies: a pixel of two classes alike goes to either by rounding (values: test_segmentation_heads)
        for name in (name for name in losses[0] if 'loss' in name):
            assert losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=1e-4), name
    assert losses[0]['loss'].item() > 1


def test_sizes_of_the_stock_model():
    model = Config.fromfile(BASE / 'models/upernet_swin-tiny.py').model
    assert stock_upernet(model)['backbone'] == dict(
        type='SwinTransformer', window_size=7, drop_path_rate=0.1, pretrain_img_size=224, patch_norm=True,
        embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24])
    assert stock_upernet(model)['decode_head']['in_channels'] == [96, 192, 384, 768]
    with pytest.raises(ValueError, match="model.backbone.type is 'egmim_mm.MaskedSwinTransformerV2'"):
        stock_upernet(Config.fromfile(BASE / 'models/upernet_swinv2-tiny.py').model)
