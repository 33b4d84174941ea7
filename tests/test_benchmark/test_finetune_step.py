"""The stock fine-tuning step is built as it should be: the same weights give the same losses."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from egmim_mm.benchmark.finetune_step import labelled_scenes, make_ours, make_stock, share_weights, stock_upernet
from egmim_mm.benchmark.timing import PartTimer

BASE = Path(__file__).parents[2] / 'configs/_base_'
CPU = torch.device('cpu')


@pytest.fixture
def config():
    cfg = Config.fromfile(BASE / 'models/upernet_swin-tiny.py')
    cfg.optim_wrapper = Config.fromfile(BASE / 'schedules/finetune.py').optim_wrapper
    cfg.model.backbone.update(arch=dict(embed_dims=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4]), img_size=64)
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.channels = 8
    cfg.model.data_preprocessor.size = (64, 64)
    return cfg


def test_stock_computes_what_ours_computes(config):
    batch = labelled_scenes(3, 64, 5)
    assert [tuple(image.shape) for image in batch['inputs']] == [(3, 64, 64)] * 3
    ours, stock = make_ours(config, batch, CPU, 'float32'), make_stock(config, batch, CPU)
    assert type(stock.model.backbone).__module__.startswith('mmseg.')
    assert type(stock.model.data_preprocessor).__name__ == 'SegDataPreProcessor'
    assert [type(h).__module__.split('.')[0] for h in (stock.model.decode_head, stock.model.auxiliary_head)] == [
        'mmseg', 'mmseg']
    share_weights(ours, stock)
    assert ours.parameters() == stock.parameters() > 10_000
    for _ in range(2):  # the second shows that the update was the same
        losses = []
        for step in (ours, stock):
            torch.manual_seed(0)  # of drop path and dropout
            losses.append(step())
        assert losses[0].keys() == losses[1].keys()
        # not the accuracies: a pixel of two classes alike goes to either by rounding (values: test_segmentation_heads)
        for name in (name for name in losses[0] if 'loss' in name):
            assert losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=1e-4), name
    assert losses[0]['loss'].item() > 1


def test_settings_of_the_stock_step(config):
    batch = labelled_scenes(2, 64, 5)
    stock = make_stock(config, batch, CPU)
    groups = stock.optimizer.optimizer.param_groups
    assert len(groups) == len(list(stock.model.parameters()))  # a group for each, as MMEngine makes them
    assert {group['weight_decay'] for group in groups} == {0.0, 0.01} and groups[0]['lr'] == 6e-5
    assert type(stock.optimizer).__name__ == 'OptimWrapper'
    assert [h.loss_decode.loss_weight for h in (stock.model.decode_head, stock.model.auxiliary_head)] == [1.0, 0.4]
    model = Config.fromfile(BASE / 'models/upernet_swin-tiny.py').model
    assert stock_upernet(model)['backbone'] == dict(
        type='SwinTransformer', window_size=7, drop_path_rate=0.1, pretrain_img_size=224, patch_norm=True,
        embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24])
    assert stock_upernet(model)['decode_head']['in_channels'] == [96, 192, 384, 768]
    with pytest.raises(ValueError, match="model.backbone.type is 'egmim_mm.MaskedSwinTransformerV2'"):
        stock_upernet(Config.fromfile(BASE / 'models/upernet_swinv2-tiny.py').model)


def test_parts_of_a_step(config):
    step, timer = make_ours(config, labelled_scenes(2, 64, 5), CPU), PartTimer()
    with step.timed(timer):
        step()
    assert set(timer.seconds) == {'normalisation', 'backbone, forward', 'decode head, forward',
                                  'auxiliary head, forward', 'losses', 'backward', 'optimizer', 'other'}
    assert min(timer.seconds.values()) > 0
