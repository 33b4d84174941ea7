"""The floor of the edge prior: measured before training, in the checkpoint, lineage and results, kept on a resume."""
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope

from egmim_mm.datasets import LoadTile, UnlabeledTiles
from egmim_mm.edges import edge_response, feature_response, floor_of
from egmim_mm.engine import EdgeFloorHook
from egmim_mm.evaluation.protocol import describe_progress
from egmim_mm.models import EdgePrior

SLOPES = (1, 2, 3, 0)  # 8-bit steps per px, the response everywhere


@pytest.fixture
def runner(tmp_path, write_image, toy_config):
    """Function: what the hook sees of a Runner, with a model of this floor."""
    for number, slope in enumerate(SLOPES):
        row = np.arange(64) * slope
        write_image(tmp_path / f'{number}.png', np.tile(row, (64, 1)).astype(np.uint8)[..., None].repeat(3, 2))
    init_default_scope('mmpretrain')
    infos = {}

    def make(floor='auto', resume=False, operator='gaussian_sobel', **parts):
        cfg = toy_config()
        cfg.model.edge_prior = dict(type='egmim_mm.EdgePrior', floor=floor, operator=operator)
        cfg.model.update(parts)
        dataset = UnlabeledTiles(str(tmp_path), pipeline=[dict(type='egmim_mm.LoadTile')])
        return SimpleNamespace(
            model=MODELS.build(cfg.model), _resume=resume, logger=logging.getLogger('floor'),
            message_hub=SimpleNamespace(update_info=infos.__setitem__, runtime_info=infos),
            train_dataloader=SimpleNamespace(dataset=dataset, batch_size=4), train_loop=SimpleNamespace(), cfg={})

    return make


def test_floor_is_a_percentile_of_the_training_tiles(runner, caplog):
    run = runner()
    prior = run.model.edge_prior
    assert prior.floor == pytest.approx(0.5 / 255)  # until it is measured
    with caplog.at_level(logging.INFO, 'floor'):
        EdgeFloorHook(percentile=50).before_train(run)
    assert prior.floor == pytest.approx(2 / 255, rel=1e-3)  # the median of 1, 2, 3: the flat image does not count
    assert prior.floor == prior.measured_floor.item() == run.message_hub.runtime_info['edge_floor']
    assert '4 tiles' in caplog.text and 'Edge floor: 0.00784' in caplog.text
    assert describe_progress(run, 3) == dict(optimizer_steps=3, images_seen=12, edge_floor=prior.floor)
    ramp = torch.arange(64).float().expand(1, 3, 64, 64) / 255
    assert prior(ramp).amax().item() == pytest.approx(0.5, rel=1e-3)

    resumed = runner(resume=True)
    resumed.model.load_state_dict(run.model.state_dict())
    EdgeFloorHook(percentile=100).before_train(resumed)
    assert resumed.model.edge_prior.floor == prior.floor
    new = runner()  # a new run from the same weights, on other data perhaps
    new.model.load_state_dict(run.model.state_dict())
    EdgeFloorHook(percentile=100).before_train(new)
    assert new.model.edge_prior.floor == pytest.approx(3 / 255, rel=1e-3)


def test_floor_of_the_features_of_a_teacher(runner):
    terms = [dict(type='egmim_mm.PixelTerm'), dict(type='egmim_mm.TeacherTerm', loss='none')]
    run = runner(operator='features', terms=terms)
    model = run.model
    EdgeFloorHook(percentile=50).before_train(run)
    tops = []
    for slope in SLOPES:
        image = (torch.arange(64.0) * slope).expand(1, 3, 64, 64)
        inputs = (image - model.data_preprocessor.mean) / model.data_preprocessor.std
        response = feature_response(model.terms['teacher_ema'].teacher.every_stage(inputs)[1], (64, 64))
        tops.append(response.flatten().sort().values[math.ceil(0.99 * 64 * 64) - 1])
    assert model.edge_prior.floor == pytest.approx(max(floor_of(torch.stack(tops), 50), 0.02), rel=1e-3)


def test_floor_is_that_of_the_main_process(runner, monkeypatch):
    run = runner()
    monkeypatch.setattr('egmim_mm.engine.hooks.edge_floor.dist.is_main_process', lambda: False)
    monkeypatch.setattr('egmim_mm.engine.hooks.edge_floor.dist.broadcast', lambda floor: floor.fill_(0.125))
    EdgeFloorHook().before_train(run)
    assert run.model.edge_prior.floor == 0.125


def test_fixed_floors_and_models_without_edges_measure_nothing(runner, monkeypatch):
    monkeypatch.setattr(EdgeFloorHook, '_measure', lambda *args: pytest.fail('measured'))
    fixed = runner(floor=0.01)
    EdgeFloorHook().before_train(fixed)
    assert fixed.model.edge_prior.floor == 0.01 and not fixed.model.edge_prior.state_dict()
    simmim = runner(mask_generator=dict(type='egmim_mm.EdgeGuidedMaskGenerator', policy='random'),
                    terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0)])
    EdgeFloorHook().before_train(simmim)
    assert not fixed.message_hub.runtime_info


def test_constant_images_and_bad_settings_are_named(runner, caplog):
    run = runner()
    run.train_dataloader.dataset.pipeline = Compose([LoadTile()])
    floor = floor_of(torch.tensor([0.0, 0.1, 0.3, 0.2]), 50)
    assert floor == pytest.approx(0.2)
    run.model.images = lambda inputs: torch.full_like(inputs, 0.5)
    EdgeFloorHook().before_train(run)
    assert 'none of the 4 windows has any structure' in caplog.text
    assert run.model.edge_prior.floor == pytest.approx(0.5 / 255)
    assert edge_response(torch.full((1, 3, 8, 8), 0.5)).max() < 1e-6
    for bad in ('of the data', -1.0):
        with pytest.raises(ValueError, match="must be 0 or more, or 'auto'"):
            EdgePrior(floor=bad)
    with pytest.raises(ValueError, match='percentile in 0..100, got 128 and 101'):
        EdgeFloorHook(percentile=101)
