"""tools/analyze.py compare on work dirs: what it finds, draws and refuses."""
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from egmim_mm.analysis.comparison import compare_runs
from egmim_mm.evaluation.per_image import write_per_image
from egmim_mm.records.provenance import write_json

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f'tile_{index}' for index in range(6)]
CLASSES = ['dark', 'bright']
CONFIG = """
default_scope = 'mmseg'
load = [dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')]
test_dataloader = dict(dataset=dict(
    type='egmim_mm.SegmentationTiles', data_root={root!r}, img_suffix='.png', pipeline=load,
    metainfo=dict(classes=('dark', 'bright'), palette=[[0, 0, 0], [255, 255, 255]])))
"""


def truth(index):
    return np.random.default_rng(index).integers(0, 2, (32, 32)).astype(np.uint8)


def write_run(folder, accuracy, seed=0, names=NAMES, classes=CLASSES, boundary=True, tiles=('t0', 't1'), maps=False):
    """The work dir of a run that is right so often."""
    rng, confusions = np.random.default_rng(seed), []
    for name in names:
        target = truth(NAMES.index(name))
        guess = np.where(rng.random(target.shape) < accuracy, target, 1 - target)
        confusions.append(np.bincount((2 * target + guess).ravel(), minlength=4).reshape(2, 2))
        if maps:
            (folder / 'predictions').mkdir(parents=True, exist_ok=True)
            Image.fromarray(guess.astype(np.uint8)).save(folder / 'predictions' / f'{name}.png')
    counts = dict(confusion=np.array(confusions))
    if boundary:
        hit = np.array(confusions).diagonal(axis1=1, axis2=2)
        counts['boundary_iou_3px'] = np.stack([hit, np.full_like(hit, 900)], 1)
    write_json(folder / 'results.json', dict(
        phase='test', confusion=dict(counts=np.sum(confusions, axis=0)), checkpoint=None, config=None,
        protocol=dict(classes=classes, training=dict(labels=dict(tiles=list(tiles))))))
    write_per_image(folder / 'per_image.npz', names, counts)
    return folder


def compare(*arguments):
    runpy.run_path(str(ROOT / 'tools/analyze.py'))['main'](['compare', *map(str, arguments)])


def test_a_better_model_on_every_seed(tmp_path, capsys):
    for seed in range(3):
        write_run(tmp_path / f'a_{seed}', 0.6, seed)
        write_run(tmp_path / f'b_{seed}', 0.8, 10 + seed, names=NAMES[::-1])  # another order of the same images
    compare(f'worse={tmp_path}/a_{{seed}}', f'better={tmp_path}/b_{{seed}}', '--seeds', 0, 1, 2, '--out',
            tmp_path / 'out', '--draws', 200)
    said = capsys.readouterr().out
    found = json.loads((tmp_path / 'out/comparison.json').read_text())
    row = found['scores']['mIoU']
    assert row['first'] == pytest.approx(100 * 0.6 / 1.4, abs=2)
    assert row['second'] == pytest.approx(100 * 0.8 / 1.2, abs=2)
    assert 0 < row['interval'][0] < row['difference'] < row['interval'][1]
    assert len(row['per_seed']) == 3 and row['difference'] == pytest.approx(np.mean(row['per_seed']))
    assert set(row['classes']) == set(CLASSES) and set(found['scores']) == {'mIoU', 'boundary_mIoU_3px'}
    assert all(gain > 0 for gain in found['images'].values()) and set(found['images']) == set(NAMES)
    assert found['bootstrap'] == dict(level=0.95, method='percentile bootstrap over seeds and images', draws=200,
                                      seed=0, seeds=3, images=6)
    assert 'better less worse, 6 images, seeds: 3' in said
    assert 'Intervals: percentile bootstrap over seeds and images, 200 resamples, seed 0' in said
    assert '3 seeds: with fewer than five the intervals are too narrow' in said
    assert 'no sheet of the images that differ' in said  # the work dirs hold no config
    assert Image.open(tmp_path / 'out/comparison.png').size[0] > 800


def test_one_run_of_each_is_over_images_alone(tmp_path, capsys):
    a = write_run(tmp_path / 'a', 0.7)
    compare(a, f'again={a}', '--out', tmp_path / 'out', '--draws', 50, '--images', 0)
    said = capsys.readouterr().out
    row = json.loads((tmp_path / 'out/comparison.json').read_text())['scores']['mIoU']
    assert row['difference'] == 0 and row['interval'] == [0, 0]
    assert 'the intervals are over images alone and hold nothing of the noise between trainings' in said


def test_images_that_differ_most_side_by_side(tmp_path, write_image):
    for index, name in enumerate(NAMES):
        write_image(tmp_path / f'data/images/{name}.png', np.repeat(truth(index)[..., None] * 200, 3, 2))
        write_image(tmp_path / f'data/masks/{name}.png', truth(index))
    runs = {name: write_run(tmp_path / name, accuracy, seed, maps=True)
            for seed, (name, accuracy) in enumerate(dict(a=0.6, b=0.9).items())}
    (tmp_path / 'a/run.py').write_text(CONFIG.format(root=str(tmp_path / 'data')))
    found = compare_runs({name: str(run) for name, run in runs.items()}, tmp_path / 'out', draws=20, images=2)
    assert found['sheet'] == str(tmp_path / 'out/differing_images.png')
    sheet = np.asarray(Image.open(found['sheet']))
    assert sheet.shape[1] > 4 * 256 and 2 * 256 < sheet.shape[0] < 3 * 256  # two rows of image, truth, a, b


def test_runs_of_other_labels_are_compared_with_a_note(tmp_path):
    runs = dict(a=write_run(tmp_path / 'a', 0.6), b=write_run(tmp_path / 'b', 0.7, boundary=False, tiles=('t5', )))
    found = compare_runs({name: str(run) for name, run in runs.items()}, tmp_path / 'out', draws=20, images=0)
    assert 'were trained on different labelled tiles' in found['notes'][1]
    assert set(found['scores']) == {'mIoU'}  # only one of them has counted boundaries


def test_only_like_is_compared_with_like(tmp_path):
    a = write_run(tmp_path / 'a', 0.6)
    classes = write_run(tmp_path / 'classes', 0.6, classes=['bright', 'dark'])
    fewer = write_run(tmp_path / 'fewer', 0.6, names=NAMES[:5])
    labels, mixed, bare, older, dev = (write_run(tmp_path / name, 0.6)
                                       for name in ('labels', 'mixed', 'bare', 'older', 'dev'))
    counts = np.stack([np.eye(2, dtype=int) * 512] * 6)
    write_per_image(labels / 'per_image.npz', NAMES, dict(confusion=counts))
    results = json.loads((labels / 'results.json').read_text())
    for run, part in ((a, 'test'), (dev, 'dev')):
        write_json(run / 'results.json', results | dict(part=part))
    write_json(labels / 'results.json', results | dict(confusion=dict(counts=counts.sum(0))))
    write_per_image(mixed / 'per_image.npz', NAMES, dict(confusion=counts))
    (bare / 'results.json').unlink()
    (older / 'per_image.npz').unlink()
    for other, says in ((classes, r"has the classes \['dark', 'bright'\] and .*: only runs with the same classes"),
                        (fewer, 'was tested on 6 images and .* on 5; tile_5 is in one of them alone'),
                        (labels, 'tested with different labels of tile_0 and 5 more images'),
                        (dev, 'was judged on the test part and .* on the dev part: judge both on the same'),
                        (mixed, 'results.json and per_image.npz are of two evaluations'),
                        (bare, 'bare/results.json does not exist: give work dirs'),
                        (older, 'older/per_image.npz: no such file; .* test the checkpoint again')):
        with pytest.raises(SystemExit, match=f'^Error: .*{says}'):
            compare(a, other, '--out', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_seeds_and_their_place_belong_together(tmp_path):
    a = write_run(tmp_path / 'a', 0.6)
    with pytest.raises(SystemExit, match='^Error: .*it holds {seed}: say which with --seeds 0 1 2'):
        compare(f'{tmp_path}/x_{{seed}}', a)
    with pytest.raises(SystemExit, match='^Error: .*--seeds is given: write {seed} where the number stands'):
        compare(a, f'b={a}', '--seeds', 0, 1)


def test_seeds_of_several_pretrainings_against_what_none_was_pretrained_for(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f'forest_{seed}', 0.6, seed)
        for pretraining in range(3):
            write_run(tmp_path / f'net_{pretraining}_{seed}', 0.7 + 0.05 * pretraining, 10 * pretraining + seed)
    document = compare_runs(dict(forest=f'{tmp_path}/forest_{{seed}}', net=f'{tmp_path}/net_{{pretraining}}_{{seed}}'),
                            tmp_path / 'out', seeds=[0, 1], draws=200, images=0, pretrainings=[0, 1, 2])
    gains = document['scores']['mIoU']['per_seed']
    assert len(gains) == 6 and np.all(np.diff(np.mean(np.reshape(gains, (3, 2)), 1)) > 3)
    assert document['bootstrap']['method'] == 'percentile bootstrap over pretrainings, seeds and images'
    with pytest.raises(ValueError, match='write {pretraining} where the number stands'):
        compare_runs(dict(a=f'{tmp_path}/forest_{{seed}}', b=f'{tmp_path}/forest_{{seed}}'), tmp_path / 'out', [0, 1],
                     pretrainings=[0])
    with pytest.raises(ValueError, match='it holds {pretraining}: say which with --pretraining-seeds'):
        compare_runs(dict(a=f'{tmp_path}/net_{{pretraining}}_0', b=str(tmp_path / 'forest_0')), tmp_path / 'out')
