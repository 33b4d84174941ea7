"""tools/label_budget.py simulate: rounds of labelling, against the read-outs that the tools make."""
import json
import re

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from egmim_mm.analysis.readouts import readout_model
from egmim_mm.datasets.plain_tiles import build_training_data, without_augmentation
from egmim_mm.engine.launch import load_config
from egmim_mm.engine.readout_fitting import LabelledDataset, fit_readout, normalised
from egmim_mm.evaluation.confusion import confusion_matrix, segmentation_scores
from egmim_mm.readout import majority_labels
from egmim_mm.study.active_rounds import ARMS
from egmim_mm.study.suggest_report import backbone_features
from egmim_mm.study.suggest_tiles import choose_tiles


@pytest.fixture(scope='module')
def config(tiny):
    return tiny.few_whole


@pytest.fixture(scope='module')
def rounds(config, weights, call, tmp_path_factory):
    out = tmp_path_factory.mktemp('rounds')
    call('label_budget', 'simulate', config, '--backbone', weights, '--counts', 1, 2, 4, '--seeds', 3, 4, '--out', out,
         '--device', 'cpu')
    return out


def made(path):
    return json.loads(path.read_text())


def test_tiles_are_those_that_the_uncertainty_says(rounds, config, weights, tiny):
    start, later = made(rounds / 'start_1_seed3.json'), made(rounds / 'uncertainty_2_seed3.json')
    names, unsure = start['settings']['tiles'], np.array(start['uncertainty'])
    assert len(unsure) == 8 and ((unsure > 0) & (unsure < 1)).all()
    first, second = later['settings']['labelled']
    assert first == start['settings']['labelled'][0]
    others = [number for number, name in enumerate(names) if name != first]
    assert second == names[max(others, key=lambda number: unsure[number])]
    cfg = load_config(str(config), None, {}, False, '1', 'read-out')
    features = backbone_features(cfg, str(weights), [f'{tiny.data}/images/{name}.png' for name in names])
    held = [names.index(name) for name in made(rounds / 'weighted_k_centre_2_seed4.json')['settings']['labelled']]
    unsure = np.array(made(rounds / 'weighted_k_centre_2_seed4.json')['uncertainty'])
    chosen = choose_tiles(features, 2, 'k_centre', 4, held, unsure)
    assert made(rounds / 'weighted_k_centre_4_seed4.json')['settings']['labelled'] == [
        names[tile] for tile in held + chosen]


def test_scores_are_those_of_a_read_out(rounds, config, weights):
    saved = made(rounds / 'random_4_seed3.json')
    cfg = load_config(str(config), None, {}, False, '1', 'read-out')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = readout_model(cfg, str(weights), 0, 'cpu')
    data = build_training_data(cfg)  # the test images are the same ones
    members = [data.tile_names.index(name) for name in saved['settings']['labelled']]
    plain = without_augmentation(data)
    fitted = fit_readout(model, LabelledDataset(plain, members), 600, cfg.train_cfg.classifiers, 1024, 0)
    model.decode_head.set_classifiers(fitted.classifiers, fitted.seen)
    tiles, differ = LabelledDataset(plain, range(8)), 0
    for number in range(8):
        image, labels = tiles.load(number)
        with torch.no_grad():
            found = model.decode_head(model.extract_feat(normalised(model, image))).argmax(1)
        counts = confusion_matrix(found, majority_labels(labels[None], 3), 3)
        assert counts.sum() == np.sum(saved['confusion'][number])
        differ += np.abs(counts.numpy() - saved['confusion'][number]).sum()
    assert differ <= 8  # of 4,500 cells, by rounding: features are interpolated before they are classified
    document = made(rounds / 'active_rounds.json')
    expected = segmentation_scores(np.sum(saved['confusion'], 0), ('dark', 'middle', 'bright'))['mIoU']
    assert document['scores']['random']['4'][0]['mIoU'] == pytest.approx(expected)
    assert list(document['scores']) == list(ARMS) and document['reference'] == 'random'
    assert all(rounds['1'] == document['scores']['random']['1'] for rounds in document['scores'].values())
    gain = document['differences']['uncertainty']['4']
    seeds = [two['mIoU'] - one['mIoU'] for one, two in zip(*(document['scores'][arm]['4'] for arm in (
        'random', 'uncertainty')))]
    assert gain['per_seed'] == pytest.approx(seeds) and gain['difference'] == pytest.approx(np.mean(seeds))
    assert gain['interval'][0] <= gain['difference'] <= gain['interval'][1]
    assert (rounds / 'active_rounds.png').stat().st_size > 5000


def test_what_is_there_is_not_made_again_and_never_mixed(rounds, config, weights, call, tmp_path):
    options = ['label_budget', 'simulate', config, '--backbone', weights, '--counts', 1, 2, 4, '--out', rounds,
               '--device', 'cpu']
    before, kept = made(rounds / 'active_rounds.json'), (rounds / 'random_4_seed3.json').stat().st_mtime_ns
    call(*options, '--seeds', 3, 4)
    assert (rounds / 'random_4_seed3.json').stat().st_mtime_ns == kept
    assert made(rounds / 'active_rounds.json')['scores'] == before['scores']
    with pytest.raises(SystemExit, match=r'^Error: .*start_1_seed3.json is of other settings \(loop\): give another'):
        call(*options, '--seeds', 3, '--cfg-options', 'train_cfg.cells=300')


@pytest.mark.parametrize(('options', 'says'), [
    (['--counts', 4, 2], '--counts 4 2: two or more ascending numbers of tiles'),
    (['--counts', 2], '--counts 2: two or more'),
    (['--counts', 2, 9], '--counts 9: there are 8 training tiles'),
    (['--arms', 'random', 'best'], "--arms: unknown 'best'; there are random, typical_cluster"),
    (['--arms', 'random', 'random'], '--arms random random: each one once'),
    (['--seeds', 1, 1], '--seeds 1 1: each one once'),
    (['--preset', 'none'], 'model.decode_head is no egmim_mm.ReadoutHead'),
])
def test_what_cannot_be_simulated(options, says, config, call, tmp_path):
    with pytest.raises(SystemExit, match=f'^Error: .*{re.escape(says)}'):
        call('label_budget', 'simulate', config, '--backbone', 'scratch', '--counts', 1, 2, '--out', tmp_path,
             '--device', 'cpu', *options)
