"""tools/label_budget.py suggest --model: what is suggested, by entropies and classes computed anew."""
import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from egmim_mm.inference import Segmenter
from egmim_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
TEXT = "_base_ = ['{upernet}'{more}]\nmodel = dict({model}test_cfg=dict(crop_size=(96, 96), stride=(96, 96)))\n"
CLASSES = ('dark', 'middle', 'bright')


@pytest.fixture(scope='module')
def config(tiny, tmp_path_factory):
    """Function: config of a supervised model, or of a second stage."""
    folder = tmp_path_factory.mktemp('configs')

    def write(second: bool) -> Path:
        path = folder / f'{"semi" if second else "alone"}.py'
        path.write_text(TEXT.format(
            upernet=tiny.upernet, more=f", '{ROOT}/configs/_base_/second_stage.py'" if second else '',
            model='**_base_.second_stage.model, ' if second else ''))
        return path

    return write


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory):
    """Function: checkpoint of that model with random weights, which says that tiles 0 and 1 are labelled."""
    folder = tmp_path_factory.mktemp('checkpoints')

    def save(second: bool, classes=CLASSES) -> Path:
        path = folder / f'{"semi" if second else "alone"}_{classes[0]}.pth'
        torch.manual_seed(1)
        with DefaultScope.overwrite_default_scope('mmseg'):
            model = MODELS.build(Config.fromfile(config(second)).model)
        for part in (model.student, model.teacher) if second else (model, ):
            weight = part.decode_head.conv_seg.weight
            weight.data.copy_(torch.randn(weight.shape))  # far from equal probabilities
        training = dict(classes=list(classes), labels=dict(tiles=['0', '1']))
        torch.save(dict(state_dict=model.state_dict(), meta=dict(egmim_mm=dict(training=training))), path)
        return path

    return save


@pytest.fixture
def suggest(tiny, config, checkpoint, call, tmp_path):
    """Function: rows of suggested.csv."""

    def run(*options, second=False, folder=None):
        call('label_budget', 'suggest', folder or tiny.data / 'images', '--model', checkpoint(second), '--config',
             config(second), '--out', tmp_path, '--device', 'cpu', *options)
        with open(tmp_path / 'suggested.csv', newline='') as file:
            return list(csv.DictReader(file))

    return run


def entropies(segmenter, tiny, name):
    image = np.array(Image.open(tiny.data / f'images/{name}.png'))
    found = segmenter.probabilities([image])[0].double().numpy()
    return -(found * np.log(found)).sum(0) / np.log(3), found.argmax(0)


def test_the_most_unsure_tiles(suggest, tiny, config, checkpoint, tmp_path):
    rows = suggest('--count', 3, '--method', 'uncertainty')
    segmenter = Segmenter(config(False), checkpoint(False), 'cpu')
    unsure = {name: entropies(segmenter, tiny, name)[0].mean() for name in map(str, range(2, 8))}
    expected = sorted(unsure, key=unsure.get, reverse=True)[:3]
    assert [row['tile'] for row in rows] == expected == (tmp_path / 'suggested.txt').read_text().split()
    assert [float(row['uncertainty']) for row in rows] == pytest.approx([unsure[name] for name in expected], abs=1e-3)
    assert [row['disagreement'] for row in rows] == [''] * 3 and (tmp_path / 'suggested.jpg').stat().st_size > 3000


def test_teacher_and_student_differ(suggest, tiny, config, checkpoint):
    rows = suggest('--count', 6, '--method', 'uncertainty', second=True)
    teacher, student = (Segmenter(config(True), checkpoint(True), 'cpu', cfg_options={'model.predict_with': which})
                        for which in ('teacher', 'student'))
    scores = []
    for row in rows:
        unsure, classes = entropies(teacher, tiny, row['tile'])
        differs = (classes != entropies(student, tiny, row['tile'])[1]).mean()
        assert float(row['uncertainty']) == pytest.approx(unsure.mean(), abs=1e-3)
        assert float(row['disagreement']) == pytest.approx(differs, abs=1e-3) and differs > 0
        scores.append(unsure.mean() * differs)
    assert scores == sorted(scores, reverse=True) and {row['tile'] for row in rows} == set('234567')


def test_windows(suggest, tiny, config, checkpoint, tmp_path, capsys):
    rows = suggest('--count', 5, '--windows', 32, '--method', 'uncertainty')
    segmenter = Segmenter(config(False), checkpoint(False), 'cpu')
    every = {(name, x, y): entropies(segmenter, tiny, name)[0][y:y + 32, x:x + 32].mean()
             for name in map(str, range(2, 8)) for x in (0, 32, 64) for y in (0, 32, 64)}
    best = sorted(every.values(), reverse=True)[:5]
    assert [float(row['uncertainty']) for row in rows] == pytest.approx(best, abs=1e-3)
    assert every[rows[0]['tile'], int(rows[0]['x']), int(rows[0]['y'])] == pytest.approx(best[0], abs=1e-3)
    assert {row['side'] for row in rows} == {'32'} and not (tmp_path / 'suggested.gpkg').exists()
    assert 'no suggested.gpkg, as the images have no place' in capsys.readouterr().out


def test_named_labels_take_the_place_of_recorded_ones(suggest, tmp_path):
    (tmp_path / 'mine.txt').write_text('2\n3\n4\n')
    for method in ('k_centre', 'weighted_typical_cluster'):
        rows = suggest('--count', 5, '--labelled', tmp_path / 'mine.txt', '--method', method)
        assert {row['tile'] for row in rows} == set('01567')


@pytest.mark.parametrize(('options', 'says'), [
    (('--windows', 48), '--windows 48: a multiple of 32 px'),
    (('--windows', 128), r'--windows 128: .* has 96 x 96 px \(height x width\): give smaller windows'),
    (('--include', '[01]'), 'each of the 2 images in .* is labelled: there is none to suggest'),
    (('--include', 'x'), "no images in .* that match \\['x'\\]"),
    (('--count', 7), '7 tiles cannot be chosen from 6: 2 of the 8 are labelled'),
    (('--labelled', '{folder}/none.txt'), 'none.txt'),
    (('--labelled', '{folder}/empty.txt'), 'empty.txt: names no tile'),
    (('--labelled', '{folder}/other.txt'), 'other.txt: the labelled tile nowhere is neither an image of the folder'),
    (('--model', '{weights}'), 'random.pth does not say which tiles it was trained on: name them with --labelled FILE'),
    (('--model', '{others}'), 'was trained on the classes water, middle, bright, and .* has dark, middle, bright'),
    (('--backbone', '{weights}'), '--model needs --config, that of its run, and goes without --backbone'),
    (('--device', 'cuda:77'), 'device cuda:77 cannot be used'),
])
def test_what_cannot_be_suggested(suggest, weights, checkpoint, tmp_path, options, says):
    (tmp_path / 'empty.txt').write_text('\n')
    (tmp_path / 'other.txt').write_text('nowhere\n')
    others = checkpoint(False, ('water', *CLASSES[1:]))
    with pytest.raises(SystemExit, match=f'^Error: .*{says}|^Error: {says}'):
        suggest('--count', 2, *(str(option).format(folder=tmp_path, weights=weights, others=others)
                                for option in options))


def test_options_of_a_model_alone(tiny, call):
    with pytest.raises(SystemExit, match='^Error: --labelled, --windows and methods by uncertainty go with --model'):
        call('label_budget', 'suggest', tiny.data / 'images', '--count', 2, '--windows', 64)
