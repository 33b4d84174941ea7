"""Real tiles of three benchmarks load through their configs, with the right labels, and train a step."""
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from egmim_mm.engine.device import adapt_to_device
from egmim_mm.engine.launch import load_config
from egmim_mm.registry import MODELS

# tile -> pixels of each class and of ignored pixels, counted in the files by hand
COUNTS = dict(
    vaihingen=('area1_0_0_512_512', [135362, 79847, 16532, 4908, 4212], 21283),
    potsdam=('2_10_0_0_512_512', [100557, 64023, 34357, 30670, 7841], 24696),
    loveda=('0', [142441, 14427, 19208, 3888, 0, 0, 868612], 0))


@pytest.mark.parametrize('name', COUNTS)
def test_samples_load_and_train(shared_data, name, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    cfg = load_config(f'configs/upernet_{name}.py')
    adapt_to_device(cfg)
    root = shared_data / 'benchmark_samples' / name
    cfg.train_dataloader.dataset.update(data_root=str(root),
                                        data_prefix=dict(img_path='img_dir', seg_map_path='ann_dir'))
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.sampler.budget = 1
    init_default_scope(cfg.default_scope)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    tile, counts, ignored = COUNTS[name]
    place = loader.dataset.tile_names.index(tile)
    assert loader.dataset.class_pixels()[place].tolist() == counts
    with Image.open(root / 'ann_dir' / f'{tile}.png') as mask:
        assert np.array(mask).size - sum(counts) == ignored

    cfg.model.backbone.arch = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])
    cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 8
    model = MODELS.build(cfg.model)
    losses = model(**model.data_preprocessor(next(iter(loader)), True), mode='loss')
    losses['decode.loss_ce'].backward()
    gradients = [parameter.grad for parameter in model.backbone.parameters() if parameter.grad is not None]
    assert torch.isfinite(losses['decode.loss_ce']) and sum(g.abs().sum() for g in gradients) > 0
