"""The edge analyses as numbers and as commands, on tiny tiles whose answer is known."""
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from sklearn.metrics import roc_auc_score

from egmim_mm.analysis.edge_floor import config_line, folder_responses, measure_floor
from egmim_mm.analysis.edge_quality import (
    boundary_auc,
    class_boundaries,
    compare_operators,
    parse_operator,
    patch_boundaries,
    patches,
    to_batch,
)
from egmim_mm.edges import edge_prior, edge_response
from egmim_mm.models import EdgePrior
from egmim_mm.readout.cells import window_batches
from egmim_mm.storage.tile_reading import TileReadError

ROOT = Path(__file__).parents[2]
CONFIG = """
tiles = dict(
    type='egmim_mm.SegmentationTiles', data_root={root!r},
    data_prefix=dict(img_path='images', seg_map_path='masks'), img_suffix='.png',
    metainfo=dict(classes=('dark', 'bright'), palette=[[0, 0, 0], [255, 255, 255]]),
    pipeline=[dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask'), dict(type='PackSegInputs')])
train_dataloader = dict(dataset=dict(include='train_*', **tiles))
test_dataloader = dict(dataset=dict(include='test_*', **tiles))
"""


def tile(seed, noise=2.0):
    """Image (80, 100, 3) uint8 and label: a bright rectangle on dark ground, its border on no multiple of 8."""
    rng = np.random.default_rng(seed)
    label = np.zeros((80, 100), np.uint8)
    top, left = rng.integers(3, 30, 2)
    label[top:top + 41, left:left + 45] = 1
    image = np.clip(60 + 120 * label[..., None] + rng.normal(0, noise, (80, 100, 3)), 0, 255).astype(np.uint8)
    return image, label


@pytest.fixture
def config(tmp_path, write_image):
    for seed, name in enumerate(['train_0', 'train_1', 'test_0']):
        image, label = tile(seed)
        write_image(tmp_path / 'images' / f'{name}.png', image)
        write_image(tmp_path / 'masks' / f'{name}.png', label)
    path = tmp_path / 'tiles.py'
    path.write_text(CONFIG.format(root=str(tmp_path)))
    return path


def test_patches_are_cut_row_by_row_without_the_rest():
    values = np.arange(5 * 7).reshape(5, 7)
    assert patches(values, 2).tolist() == [[0, 1, 7, 8], [2, 3, 9, 10], [4, 5, 11, 12],
                                           [14, 15, 21, 22], [16, 17, 23, 24], [18, 19, 25, 26]]


def test_patches_with_ignored_pixels_do_not_count():
    label = np.zeros((4, 8), np.uint8)
    label[:, 3] = 1       # first patch: two classes; second: one class
    label[0, 4] = 255
    boundary, counted = patch_boundaries(label, 4)
    assert boundary[0] and counted.tolist() == [True, False]
    assert patch_boundaries(label[:, 5:], 3)[0].tolist() == [False]


def test_boundaries_lie_on_both_sides_and_not_beside_ignored_pixels():
    label = np.zeros((5, 9), np.uint8)
    label[:, 3:6], label[:, 6:] = 1, 255
    assert class_boundaries(label).nonzero()[1].tolist() == [2, 3] * 5


def test_auc_is_that_of_a_plain_loop():
    tiles = [tile(seed, noise=40.0) for seed in range(3)]  # noisy: the answer is not 1
    tiles[0][1][:20] = 255
    options = dict(operator='sobel')
    auc, numbers = boundary_auc(tiles, {'s': options}, (8, 16))
    scores, truth, own = [], [], []
    for image, label in tiles:
        rgb = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy()).float()[None] / 255
        edge = edge_prior(rgb, 'sobel')[0, 0].numpy()
        for y in range(0, 80, 16):
            for x in range(0, 96, 16):
                cell = label[y:y + 16, x:x + 16]
                if (cell != 255).all():
                    scores.append(edge[y:y + 16, x:x + 16].mean(dtype=np.float64))
                    truth.append(len(np.unique(cell)) > 1)
        start = sum(number for number, _ in own)
        own.append((len(truth) - start, roc_auc_score(truth[start:], scores[start:])))
    assert auc['s']['pooled'][16] == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    assert auc['s']['within'][16] == pytest.approx(np.mean([value for _, value in own]), abs=1e-9)
    assert 0.5 < auc['s']['pooled'][16] < 0.999
    assert numbers[16] == dict(all=len(truth), boundary=sum(truth)) and set(auc['s']['within']) == {8, 16}


def test_perfect_and_blind_images():
    label = np.zeros((80, 96), np.uint8)
    label[12:52, 12:60] = 1  # the border runs through the middle of patches
    image = (60 + 120 * label[..., None]).repeat(3, 2)
    perfect, _ = boundary_auc([(image, label)], {name: parse_operator(name) for name in ('sobel', 'canny')}, (8,))
    assert perfect == {name: dict(pooled={8: 1.0}, within={8: 1.0}) for name in ('sobel', 'canny')}
    flat = np.full_like(image, 90)
    blind, _ = boundary_auc([(flat, label)], dict(laplacian=parse_operator('laplacian')), (8, 16))
    assert blind['laplacian'] == dict(pooled={8: 0.5, 16: 0.5}, within={8: 0.5, 16: 0.5})


def test_brightness_of_an_image_matters_to_the_pooled_auc_only():
    label = np.zeros((32, 32), np.uint8)
    label[:, 12:] = 1
    image = (60 + 120 * label[..., None]).repeat(3, 2)
    faint, plain = np.full((32, 32, 3), 60), np.zeros((32, 32), np.uint8)
    faint[:, 20:] += 2  # a faint edge that is no boundary, as strong as the other one after normalisation
    amplified, _ = boundary_auc([(image.astype(np.uint8), label), (faint.astype(np.uint8), plain)],
                                {name: parse_operator(name) for name in ('sobel', 'sobel:floor=0.1')}, (8,))
    assert amplified['sobel']['pooled'][8] < 0.95 and amplified['sobel:floor=0.1']['pooled'][8] == 1
    assert [row['within'] for row in amplified.values()] == [{8: 1.0}] * 2  # the plain image has one kind of patches


@pytest.mark.parametrize('label', [np.zeros((80, 100), np.uint8), np.full((80, 100), 255, np.uint8)])
def test_labels_without_boundaries_are_named(label):
    with pytest.raises(ValueError, match='0 of .* labelled patches of 8 px hold a class boundary'):
        boundary_auc([(tile(0)[0], label)], dict(sobel=dict(operator='sobel')))


def test_operators_are_parsed_with_all_their_options():
    assert parse_operator('sobel') == dict(operator='sobel', floor=0.0)
    assert parse_operator('canny:low=0.05,sigma=1,floor=0.1') == dict(operator='canny', floor=0.1, sigma=1.0, low=0.05,
                                                                      high=0.2, rho=1.0)


@pytest.mark.parametrize('text, message', [
    ('prewitt', "unknown edge operator 'prewitt'"),
    ('sobel:sigma=1', "'sobel' has no option 'sigma'"),
    ('canny:low', 'canny:low: write options as OPERATOR:NAME=NUMBER'),
    ('canny:low=x', 'write options as OPERATOR:NAME=NUMBER'),
    ('sobel:floor=-1', 'floor = -1.0 must be a number, 0 or more'),
    ('canny:low=-1', 'low = -1.0 must be a number, 0 or more'),
])
def test_bad_operators_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_operator(text)


def test_bands_beyond_colour_keep_their_order():
    image = np.arange(2 * 2 * 4, dtype=np.uint8).reshape(2, 2, 4)
    assert to_batch(image)[0, :, 0, 0].tolist() == [0, 1, 2, 3]
    assert to_batch(image[..., :3])[0, :, 0, 0].tolist() == [2, 1, 0]


def test_training_and_test_tiles_are_compared(config, tmp_path):
    names = ['sobel', 'structure_tensor:rho=2']
    auc = compare_operators(Config.fromfile(config), names, (8, 16), tmp_path / 'out', device='cpu')
    expected, numbers = boundary_auc([(tile(seed)[0][..., ::-1], tile(seed)[1]) for seed in range(3)],
                                     {name: parse_operator(name) for name in names}, (8, 16))
    assert auc == expected  # files hold RGB, LoadTile gives BGR
    written = json.loads((tmp_path / 'out/edges.json').read_text())
    assert written['images'] == 3 and written['patches']['8'] == numbers[8]
    assert written['auc']['sobel']['within'] == {str(size): value for size, value in auc['sobel']['within'].items()}
    assert written['operators']['structure_tensor:rho=2'] == dict(operator='structure_tensor', floor=0.0, sigma=1.0,
                                                                rho=2.0)
    table = (tmp_path / 'out/edges.md').read_text().split('\n')
    cells = [[cell.strip() for cell in line.strip('| ').split('|')] for line in table if line.strip()]
    assert cells[0] == ['operator', 'pooled 8 px', 'pooled 16 px', 'within 8 px', 'within 16 px']
    assert cells[2] == ['sobel', *(f'{value:.3f}' for kind in auc['sobel'].values() for value in kind.values())]
    sheet = np.asarray(Image.open(tmp_path / 'out/edges.png').convert('RGB'))
    assert sheet.shape[1] > 4 * 256 and sheet.std() > 20


def test_in_crops_the_floor_decides(config, tmp_path):
    names = ['gaussian_sobel', 'gaussian_sobel:floor=0.05']
    auc = compare_operators(Config.fromfile(config), names, (8,), tmp_path / 'out', crop=16, device='cpu')
    windows = [(image[y:y + 16, x:x + 16, ::-1], label[y:y + 16, x:x + 16])
               for image, label in map(tile, range(3)) for y in range(0, 80, 16) for x in range(0, 96, 16)]
    expected, _ = boundary_auc(windows, {name: parse_operator(name) for name in names}, (8,))
    assert auc == expected
    # without a floor the noise of a crop without any edge counts as much as edges elsewhere
    assert auc[names[1]]['pooled'][8] > auc[names[0]]['pooled'][8] + 0.1
    assert auc[names[1]]['within'][8] == pytest.approx(auc[names[0]]['within'][8], abs=0.02)  # clipping aside


def run_tool(*arguments):
    runpy.run_path(str(ROOT / 'tools' / 'analyze.py'))['main']([str(argument) for argument in arguments])


def test_edges_command(config, tmp_path, capsys):
    run_tool('edges', config, '--operators', 'gaussian_sobel', 'canny:sigma=1', '--patches', 8, '--out',
             tmp_path / 'out', '--device', 'cpu')
    shown = capsys.readouterr().out
    assert 'canny:sigma=1' in shown and '8 px' in shown and '16 px' not in shown
    with pytest.raises(SystemExit, match="Error: unknown edge operator 'prewitt'; choose one of"):
        run_tool('edges', config, '--operators', 'prewitt')
    with pytest.raises(SystemExit, match='Error: patches of 1 px cannot hold a class boundary'):
        run_tool('edges', config, '--patches', 1)
    with pytest.raises(SystemExit, match='Error: a crop of 24 px is smaller than the patches of 32 px'):
        run_tool('edges', config, '--crop', 24)
    with pytest.raises(SystemExit, match='egmim_dapt_dubai.py has no test_dataloader: give a segmentation config'):
        run_tool('edges', ROOT / 'configs/egmim_dapt_dubai.py')


def ramps(folder, write_image, slopes, size=64):
    """One image for each slope (8-bit steps per px), which is its response everywhere."""
    for number, slope in enumerate(slopes):
        row = np.arange(size) * slope
        write_image(folder / f'{number:03d}.png', np.tile(row, (size, 1)).astype(np.uint8)[..., None].repeat(3, 2))


def test_windows_cover_the_image():
    image = torch.arange(3 * 70 * 50, dtype=torch.float32).view(1, 3, 70, 50)
    parts = torch.cat(list(window_batches(image, 32)))
    assert parts.shape == (6, 3, 32, 32)
    assert set(parts.flatten().tolist()) == set(image.flatten().tolist())
    assert next(window_batches(image, 64)).shape == (2, 3, 64, 50)  # narrower than the window: as it is


def test_floor_is_the_percentile_of_the_windows(tmp_path, write_image):
    ramps(tmp_path / 'tiles', write_image, [1, 2, 3, 0, 0])
    values, images = folder_responses(tmp_path / 'tiles', crop=32)
    assert images == 5 and len(values) == 20
    np.testing.assert_allclose(np.unique(values.round(5)), np.array([0, 1, 2, 3]) / 255, atol=1e-5)
    report = measure_floor(tmp_path / 'tiles', percentile=50, crop=32, out_dir=tmp_path / 'out')
    assert report['floor'] == pytest.approx(2 / 255, rel=1e-4)  # of 1, 2 and 3: flat windows do not count
    assert (report['images'], report['windows'], report['flat']) == (5, 20, 8)
    assert json.loads((tmp_path / 'out/edge_floor.json').read_text())['floor'] == report['floor']
    assert Image.open(tmp_path / 'out/edge_floor.png').size[0] > 300
    # what the floor is for: the image flatter than it stays faint, the others do not
    image = torch.from_numpy(np.array(Image.open(tmp_path / 'tiles/000.png')).transpose(2, 0, 1).copy())[None]
    assert edge_prior(image, floor=report['floor']).max().item() == pytest.approx(0.5, rel=1e-3)


def test_limit_spreads_over_the_folder(tmp_path, write_image):
    ramps(tmp_path, write_image, [1, 1, 2, 3, 3])
    values, images = folder_responses(tmp_path, 'sobel', crop=64, limit=3)
    assert images == 3
    np.testing.assert_allclose(values, np.array([1, 2, 3]) / 255, rtol=1e-4)


def test_floor_of_another_operator_and_the_line_to_paste(tmp_path, write_image):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 64, 3), np.uint8)
    write_image(tmp_path / 'a.png', image)
    report = measure_floor(tmp_path, 'structure_tensor:rho=2', 50, crop=64, out_dir=tmp_path / 'out')
    response = edge_response(to_batch(image[..., ::-1]), 'structure_tensor', rho=2.0).numpy()
    assert report['floor'] == pytest.approx(np.quantile(response, 0.99, method='inverted_cdf'), rel=1e-5)
    settings = dict(item.removeprefix('model.edge_prior.').split('=') for item in config_line(report).split())
    prior = EdgePrior(settings.pop('operator'), **{key: float(value) for key, value in settings.items()})
    assert prior.options == dict(sigma=1.0, rho=2.0) and prior.floor == pytest.approx(report['floor'], rel=5e-3)


def test_floor_command(tmp_path, write_image, capsys):
    ramps(tmp_path / 'tiles/images', write_image, [2, 2, 2])
    ramps(tmp_path / 'tiles/masks', write_image, [1] * 20)
    run_tool('edge-floor', tmp_path / 'tiles', '--crop', 64, '--out', tmp_path / 'out', '--include', 'images/*')
    assert 'model.edge_prior.floor=0.00784' in capsys.readouterr().out


def test_folders_that_cannot_be_measured_are_named(tmp_path, write_image):
    ramps(tmp_path / 'black', write_image, [0])
    with pytest.raises(SystemExit, match='has any structure'):
        run_tool('edge-floor', tmp_path / 'black', '--out', tmp_path)
    with pytest.raises(SystemExit, match='none does not exist'):
        run_tool('edge-floor', tmp_path / 'none')
    with pytest.raises(SystemExit, match='percentile = 101.0 must lie in'):
        run_tool('edge-floor', tmp_path / 'black', '--percentile', 101)
    with pytest.raises(SystemExit, match='must be 1 or more'):
        run_tool('edge-floor', tmp_path / 'black', '--limit', 0)
    (tmp_path / 'black' / 'broken.png').write_bytes(b'no image')
    with pytest.raises(TileReadError, match='broken.png'):
        folder_responses(tmp_path / 'black')
