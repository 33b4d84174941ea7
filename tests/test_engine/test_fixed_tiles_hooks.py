"""Hooks that look at the model through fixed tiles: what they leave, and that training does not notice."""
import json
import logging
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from egmim_mm.checkpoints import read_checkpoint
from egmim_mm.datasets import LoadTile, UnlabeledTiles
from egmim_mm.engine import MaskCurriculumHook, ReconstructionHook, RepresentationHealthHook
from egmim_mm.evaluation.representation import feature_statistics, sample_positions
from egmim_mm.pictures.pretraining import model_inputs
from egmim_mm.pictures.sheets import GAP, LABEL, LINE, MARGIN, TITLE
from egmim_mm.storage.tile_reading import TileReadError

NUMBERS = count()  # MMEngine keeps the state of every experiment of a process by its name


@pytest.fixture
def tiles(tmp_path, write_image):
    """Folder of six images of 80 x 96 px."""
    rng = np.random.default_rng(0)
    for i in range(6):
        image = rng.integers(0, 256, (10, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        write_image(tmp_path / 'tiles' / f'{i}.png', image)
    return tmp_path / 'tiles'


def dataset_of(folder):
    return UnlabeledTiles(str(folder), pipeline=[
        dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.RandomScaledCrop', crop_size=64),
        dict(type='RandomFlip', prob=0.5), dict(type='mmpretrain.PackInputs')])


@pytest.fixture
def train(toy_config, tiles, tmp_path):
    """Function: a short run with these hooks, in which everything random hangs on the global generators."""

    def run(name, hooks=(), max_iters=5):
        cfg = toy_config(backbone=dict(drop_path_rate=0.3))
        runner = Runner(
            model=cfg.model, default_scope='mmpretrain', work_dir=str(tmp_path / name),
            experiment_name=f'fixed_tiles_{name}_{next(NUMBERS)}',
            train_dataloader=dict(batch_size=2, num_workers=0, dataset=dataset_of(tiles), collate_fn=dict(
                type='default_collate'), sampler=dict(type='InfiniteSampler', shuffle=True)),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2)),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
                               checkpoint=dict(type='egmim_mm.SafeCheckpointHook', interval=2)),
            custom_hooks=[MaskCurriculumHook(), *hooks], randomness=dict(seed=1), log_level='ERROR')
        runner.train()
        return runner

    return run


def stub(model, folder, iteration=0, **options):
    """What the hooks ask of a Runner, with pictures, scalars and log lines kept in lists."""
    pictures, scalars, lines = [], [], []
    visualizer = SimpleNamespace(add_image=lambda *args: pictures.append(args),
                                 add_scalars=lambda values, step: scalars.append((values, step)))
    logger = SimpleNamespace(info=lambda text: lines.append((logging.INFO, text)),
                             warning=lambda text: lines.append((logging.WARNING, text)))
    loader = SimpleNamespace(dataset=dataset_of(folder))
    return SimpleNamespace(model=model, iter=iteration, max_iters=10, visualizer=visualizer, logger=logger,
                           train_dataloader=loader, pictures=pictures, scalars=scalars, lines=lines, **options)


def test_weights_are_bit_identical_with_and_without_looking(train, tmp_path):
    train('plain')
    train('watched', [ReconstructionHook(interval=1, num_tiles=2), RepresentationHealthHook(interval=1, num_tiles=2)])
    plain, watched = (read_checkpoint(tmp_path / name / 'last.pth')['state_dict'] for name in ('plain', 'watched'))
    assert plain.keys() == watched.keys() and all(torch.equal(plain[key], watched[key]) for key in plain)
    assert not torch.equal(plain['backbone.mask_token'], train('longer', max_iters=6).model.backbone.mask_token.cpu())


def test_pictures_and_scalars_appear_where_documented(train, tmp_path):
    runner = train('run', [ReconstructionHook(interval=2, num_tiles=3, size=64), RepresentationHealthHook(
        interval=3, num_tiles=3)])
    pictures = sorted(path.name for path in (tmp_path / 'run').glob('*/vis_data/vis_image/*'))
    assert pictures == [f'reconstruction_{i}.png' for i in (0, 2, 4, 5)]
    lines = [json.loads(line) for file in (tmp_path / 'run').glob('*/vis_data/scalars.json')
             for line in file.read_text().splitlines()]
    health = [line for line in lines if 'health/stage1_effective_rank' in line]
    assert [line['step'] for line in health] == [0, 3, 5]
    assert health[0].keys() == {'step'} | {f'health/stage{stage}_{name}' for stage in (1, 2, 3, 4)
                                           for name in ('effective_rank', 'cosine', 'std')}
    assert all(module.training for module in runner.model.modules())


def test_tiles_and_masks_stay_and_the_reconstruction_changes(train, tmp_path):
    train('run', [ReconstructionHook(interval=3, num_tiles=2, size=64)])
    first, last = (np.asarray(Image.open(*(tmp_path / 'run').glob(f'*/vis_data/vis_image/reconstruction_{i}.png')))
                   for i in (0, 5))
    left, top, width = MARGIN + LABEL, TITLE + LINE, 192
    assert first.shape == (top + 2 * width + GAP + MARGIN, left + 5 * width + 4 * GAP + MARGIN, 3)
    same = [np.array_equal(first[top:, x:x + width], last[top:, x:x + width])
            for x in range(left, first.shape[1] - width, width + GAP)]
    assert same == [True, True, True, False, False]  # image, edge prior, masked; reconstruction, predicted edges


def test_each_module_gets_its_own_mode_back(toy_egmim, tiles):
    model = toy_egmim().train()
    model.backbone.stages[1].eval()  # as frozen parts are
    modes = [module.training for module in model.modules()]
    runner = stub(model, tiles)
    for hook in (ReconstructionHook(num_tiles=1), RepresentationHealthHook(num_tiles=1)):
        hook.before_train(runner)
        assert [module.training for module in model.modules()] == modes
    assert len(runner.pictures) == 1 and len(runner.scalars) == 1
    assert all(p.grad is None for p in model.parameters())


def test_a_resumed_run_does_not_start_with_a_picture(toy_egmim, tiles):
    runner, hook = stub(toy_egmim(), tiles, iteration=3), ReconstructionHook(interval=5, num_tiles=1)
    hook.before_train(runner)
    hook.after_train_iter(runner, 3)
    assert runner.pictures == []
    runner.iter = 4
    hook.after_train_iter(runner, 4)
    assert [(name, step) for name, _, step in runner.pictures] == [('reconstruction', 5)]


def test_only_the_main_process_looks(toy_egmim, tiles, monkeypatch):
    monkeypatch.setattr('egmim_mm.engine.hooks.fixed_tiles.is_main_process', lambda: False)
    runner, hook = stub(toy_egmim(), tiles, iteration=0), ReconstructionHook(interval=1)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    assert hook.tiles == [] and runner.pictures == []


def test_an_interval_of_zero_turns_a_hook_off_for_any_model(tiles):
    runner, hook = stub(nn.Linear(1, 1), tiles, iteration=0), ReconstructionHook(interval=0)
    hook.before_train(runner)
    runner.iter = 9
    hook.after_train_iter(runner, 9)
    assert runner.pictures == []


def test_the_model_is_found_in_its_wrapper(toy_egmim, tiles):

    @MODEL_WRAPPERS.register_module(name='FixedTilesTestWrapper', force=True)
    class Wrapper(nn.Module):

        def __init__(self, module):
            super().__init__()
            self.module = module

    model = toy_egmim()
    plain, wrapped = stub(model, tiles), stub(Wrapper(model), tiles)
    for runner in (plain, wrapped):
        ReconstructionHook(num_tiles=1).before_train(runner)
    assert np.array_equal(plain.pictures[0][1], wrapped.pictures[0][1])


def test_other_images_can_be_named(toy_egmim, tiles):
    hook = ReconstructionHook(images=str(tiles / '4.png'), size=64)
    hook.before_train(stub(toy_egmim(), tiles))
    whole = LoadTile()(dict(img_path=str(tiles / '4.png')))['img']
    assert [tile.name for tile in hook.tiles] == ['4'] and np.array_equal(hook.tiles[0].image, whole[8:72, 16:80])
    hook = RepresentationHealthHook(images=[str(tiles)], num_tiles=2)
    hook.before_train(stub(toy_egmim(), tiles))
    assert [tile.name for tile in hook.tiles] == ['0', '5']


def test_health_is_that_of_the_features_of_unmasked_tiles(toy_egmim, tiles):
    model = toy_egmim()
    runner, hook = stub(model, tiles), RepresentationHealthHook(num_tiles=3)
    hook.before_train(runner)
    (values, step), = runner.scalars
    assert step == 0 and [tile.name for tile in hook.tiles] == ['0', '2', '5']
    with torch.no_grad():
        maps = [list(model.backbone(model_inputs(model, tile))) for tile in hook.tiles]
        whole = [model.backbone.every_stage(model_inputs(model, tile))[2] for tile in hook.tiles]
    for own, stage3 in zip(maps, whole):  # no term reads it, so that it has no norm of its own
        assert stage3.mean(1).abs().max() < 1e-5 and stage3.var(1, unbiased=False).mean() == pytest.approx(1, abs=0.1)
        own.insert(2, stage3)
    for i, (stage, width) in enumerate(((1, 8), (2, 16), (3, 32), (4, 64))):
        features = torch.cat([sample_positions(m[i]) for m in maps])
        assert features.shape == (3 * (64, 64, 16, 4)[i], width)
        for name, value in feature_statistics(features).items():
            assert values[f'health/stage{stage}_{name}'] == pytest.approx(value)
    assert runner.lines[0][1].startswith('Features after 0 iterations: stage 1 rank ') and len(runner.lines) == 1


def test_interval_may_be_a_share_of_the_run(toy_egmim, tiles):
    model = toy_egmim()
    runner, hook = stub(model, tiles), RepresentationHealthHook(interval=0.3, num_tiles=2)
    hook.before_train(runner)
    for runner.iter in range(10):
        hook.after_train_iter(runner, runner.iter)
    assert [step for _, step in runner.scalars] == [0, 3, 6, 9, 10]


def test_a_collapse_is_warned_of_once(toy_egmim, tiles):
    model = toy_egmim()
    runner, hook = stub(model, tiles), RepresentationHealthHook(interval=1, num_tiles=2)
    hook.before_train(runner)
    model.backbone.norm3.weight.data.fill_(1e-3)
    model.backbone.norm3.bias.data.fill_(1.0)
    for runner.iter in range(2):
        hook.after_train_iter(runner, runner.iter)
    warnings = [text for level, text in runner.lines if level == logging.WARNING]
    assert len(warnings) == 1 and warnings[0].startswith('Stage 4 of the backbone has collapsed after 1 iterations')
    assert len(runner.scalars) == 3 and runner.scalars[-1][0]['health/stage4_cosine'] > 0.999


@pytest.mark.parametrize('hook', [ReconstructionHook, RepresentationHealthHook])
@pytest.mark.parametrize('options', [dict(interval=-1), dict(interval=1.5), dict(num_tiles=0)])
def test_bad_settings(hook, options):
    with pytest.raises(ValueError, match=f'{hook.__name__}: interval must be at least 0 and num_tiles at least 1'):
        hook(**options)


def test_mistakes_are_named_before_training(toy_egmim, tiles, write_image):
    model = toy_egmim()
    with pytest.raises(FileNotFoundError, match='nowhere.png does not exist'):
        ReconstructionHook(images='nowhere.png').before_train(stub(model, tiles))
    with pytest.raises(ValueError, match='100 px, must be a multiple of 32'):
        ReconstructionHook(size=100).before_train(stub(model, tiles))
    with pytest.raises(ValueError, match='looks into egmim_mm.EGMIM, but the model is a Linear: turn the hook off'):
        ReconstructionHook().before_train(stub(nn.Linear(1, 1), tiles))
    runner = stub(model, tiles)
    runner.train_dataloader.dataset.pipeline = Compose([])
    with pytest.raises(ValueError, match='no pipeline that begins with a loading step'):
        RepresentationHealthHook().before_train(runner)
    write_image(tiles / '6.png', np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(ValueError, match='6: 20 x 20 px'):
        RepresentationHealthHook().before_train(stub(model, tiles))
    (tiles / '7.png').write_bytes((tiles / '0.png').read_bytes()[:200])
    with pytest.raises(TileReadError, match='7.png'):
        ReconstructionHook().before_train(stub(model, tiles))
