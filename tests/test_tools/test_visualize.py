"""tools/visualize.py on tiny data: the sheets it writes, and what it says when something is wrong."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from egmim_mm.inference.frozen_backbone import build_backbone
from egmim_mm.pictures.sheets import GAP, LABEL, LINE, MARGIN, TITLE

WIDTH = 224  # least width of a column of this tool, px


@pytest.fixture(scope='module')
def run(tiny, call, tmp_path_factory):
    """Work dir of two iterations of EGMIM, with the default hooks of pretraining."""
    folder = tmp_path_factory.mktemp('run')
    call('train', tiny.egmim, '--work-dir', folder, '--cfg-options', 'train_cfg.max_iters=2',
         'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False')
    return folder


@pytest.fixture
def sheet(call, tmp_path, capsys):
    """Function: run the tool and return the picture that it says it wrote, (H, W, 3) uint8."""

    def draw(*arguments):
        out = tmp_path / 'new' / 'sheet.png'
        call('visualize', *arguments, '--out', out)
        assert capsys.readouterr().out == f'wrote {out}\n'
        return np.asarray(Image.open(out).convert('RGB'))

    return draw


# Where an image of 64 px shows its pixels; at their edges matplotlib 3.10 (Python 3.10) and Pillow round differently
CENTRES = np.ix_(*[((np.arange(64) + 0.5) * WIDTH / 64).astype(int)] * 2)


def panel(sheet, row, column, lines=1, height=WIDTH):
    """The image at a place of a sheet whose titles have so many lines."""
    top = TITLE + (lines - 1) * LINE + row * (height + GAP)
    left = MARGIN + LABEL + column * (WIDTH + GAP)
    return sheet[top:top + height, left:left + WIDTH]


def columns(sheet):
    return (sheet.shape[1] - 2 * MARGIN - LABEL + GAP) // (WIDTH + GAP)


def original(tiny, index):
    """The central 64 px of a tile as the column shows them, RGB."""
    image = Image.open(tiny.data / 'images' / f'{index}.png').crop((16, 16, 80, 80))
    return np.asarray(image.resize((WIDTH, WIDTH), Image.NEAREST)).astype(int)


def test_pretraining_leaves_pictures_and_health(run):
    pictures = [path.name for path in run.glob('*/vis_data/vis_image/*.png')]
    assert sorted(pictures) == ['reconstruction_0.png', 'reconstruction_2.png']
    (scalars, ) = run.glob('*/vis_data/scalars.json')
    assert scalars.read_text().count('health/stage4_effective_rank') == 3  # start, both steps
    (log, ) = run.glob('*/*.log')
    assert 'Features after 2 iterations: stage 1 rank' in log.read_text()


def test_edges_of_the_training_data(tiny, sheet):
    drawn = sheet('edges', tiny.egmim, '--num', 2, '--size', 64)
    assert columns(drawn) == 2
    for row, index in enumerate((0, 7)):  # the first and the last of eight
        assert np.abs(panel(drawn, row, 0, lines=2) - original(tiny, index))[CENTRES].mean() < 3
    assert sheet('edges', tiny.egmim, '--num', 1, '--operators', 'gaussian_sobel', 'sobel').shape[1] > drawn.shape[1]


def test_masks_of_several_policies_on_named_images(tiny, sheet):
    images = [tiny.data / 'images' / '3.png', tiny.data / 'masks']
    drawn = sheet('masks', tiny.simmim, '--images', *images, '--num', 1, '--size', 64, '--seeds', 0, '--progress', 1,
                  0.5, '--policies', 'random', 'edge_adaptive')
    assert columns(drawn) == 2 + 4
    assert np.abs(panel(drawn, 0, 0, lines=3) - original(tiny, 3))[CENTRES].mean() < 3
    hidden = (panel(drawn, 0, 2, lines=3) == 128).all(2)
    assert hidden.mean() == pytest.approx(0.5, abs=0.02)  # 60 % of four cells, rounded
    shown = panel(drawn, 0, 0, lines=3)
    assert np.array_equal(panel(drawn, 0, 2, lines=3)[~hidden], shown[~hidden])


def test_reconstruction_of_a_run(tiny, run, sheet):
    first, again = (sheet('reconstruction', tiny.egmim, run, '--num', 2, '--size', 64) for _ in range(2))
    assert columns(first) == 5 and np.array_equal(first, again)
    masked, reconstruction = panel(first, 1, 2), panel(first, 1, 3)
    visible = (masked != 128).any(2)
    assert 0.45 < visible.mean() < 0.55 and np.array_equal(masked[visible], reconstruction[visible])
    assert np.array_equal(masked[visible], panel(first, 1, 0)[visible])
    assert (masked[~visible] != reconstruction[~visible]).any(1).mean() > 0.9
    other = sheet('reconstruction', tiny.egmim, run / 'last.pth', '--num', 2, '--size', 64, '--seed', 9)
    assert not np.array_equal(panel(first, 0, 2), panel(other, 0, 2))


def test_features_of_two_backbones_that_differ_in_signs_alone(tiny, sheet, tmp_path):
    backbone = build_backbone(Config.fromfile(tiny.egmim), 'scratch', 0)
    with torch.no_grad():
        backbone.norm2.weight[::2] *= -1  # half of the channels of stage 3
    torch.save(dict(state_dict=backbone.state_dict()), tmp_path / 'signs.pth')
    backbones = ('--backbone', 'scratch', '--backbone', f'signs={tmp_path / "signs.pth"}')
    drawn = sheet('features', tiny.egmim, *backbones, '--num', 2, '--size', 64)
    assert columns(drawn) == 4
    for row, index in enumerate((0, 7)):
        assert np.abs(panel(drawn, row, 0, lines=2) - original(tiny, index))[CENTRES].mean() < 3
        first, second = (panel(drawn, row, column, lines=2).astype(int) for column in (2, 3))
        assert np.abs(first - second).max() <= 1 and first.std() > 30
    image = tiny.data / 'images' / '3.png'  # 96 px, shown whole: nine places of stage 4
    drawn = sheet('features', tiny.upernet, *backbones, '--images', image, '--stages', 4, 1)
    assert columns(drawn) == 1 + 4


def test_any_size_of_image_is_cut_to_what_fits(tiny, run, sheet, tmp_path):
    Image.new('RGB', (101, 37), (200, 10, 10)).save(tmp_path / 'odd.png')
    drawn = sheet('reconstruction', tiny.egmim, run, '--images', tmp_path / 'odd.png')
    height = round(WIDTH * 32 / 96)
    assert drawn.shape[0] == TITLE + height + MARGIN
    assert (np.abs(panel(drawn, 0, 0, height=height).astype(int) - (200, 10, 10)) <= 1).all()


def test_data_shows_labels_in_colour(tiny, sheet):
    drawn = sheet('data', tiny.upernet, '--num', 1, '--views', 2)
    assert drawn.shape[1] == 2 * MARGIN + LABEL + 6 * 256 + 5 * GAP
    labels = drawn[TITLE:TITLE + 256, MARGIN + LABEL + 256 + GAP:][:, :256]
    assert {tuple(color) for color in labels.reshape(-1, 3).tolist()} == {
        (0, 0, 0), (128, 128, 128), (255, 255, 255), (255, 0, 255)}  # three classes, and magenta for ignored
    assert drawn.shape[0] > TITLE + 256 + MARGIN  # a legend
    assert sheet('data', tiny.egmim, '--num', 1).shape[1] == 2 * MARGIN + LABEL + 4 * 256 + 3 * GAP


def test_the_default_place_and_a_second_call(tiny, call, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        call('visualize', 'masks', tiny.simmim, '--num', 1)
    assert capsys.readouterr().out == 2 * 'wrote work_dirs/pictures/simmim_masks.png\n'
    assert (tmp_path / 'work_dirs/pictures/simmim_masks.png').is_file()


@pytest.mark.parametrize('arguments, message', [
    (['edges', '{egmim}', '--images', 'nowhere.png'], 'Error: image nowhere.png does not exist'),
    (['edges', '{egmim}', '--size', '100'], 'Error: the size of the pictures, 100 px, must be a multiple of 32 px'),
    (['edges', '{egmim}', '--out', 'sheet.pdf'], 'Error: sheet.pdf: a picture is written as .png or .jpg'),
    (['masks', '{upernet}'], 'Error: upernet.py is no pretraining config: its model is egmim_mm.FittedEncoderDecoder'),
    (['masks', '{egmim}', '--progress', '7'], 'Error: progress must lie in [0, 1], got [7.0]'),
    (['reconstruction', '{upernet}', '{run}'], 'Error: upernet.py is no pretraining config'),
    (['reconstruction', '{egmim}', '{run}/nothing'], 'Error: checkpoint'),
    (['reconstruction', '{simmim}', '{run}'], ".pth does not hold the weights of this config's model"),
    (['features', '{egmim}', '--backbone', '{run}/nothing'], '/nothing does not exist'),
    (['features', '{egmim}', '--backbone', 'scratch', '--stages', '5'], 'Error: there is no stage 5: the backbone of '
     'the config returns the stages 1, 2, 3, 4'),
    (['features', '{egmim}', '--backbone', 'scratch', '--images', '{upernet}'], 'upernet.py'),
    (['data', '{egmim}', '--cfg-options', 'train_dataloader.dataset.data_root=void'], 'folder void does not exist'),
    (['data', 'configs/nothing.py'], 'nothing.py'),
])
def test_mistakes_are_one_clear_line(tiny, run, call, arguments, message):
    values = dict(run=run, **{name: getattr(tiny, name) for name in ('egmim', 'simmim', 'upernet')})
    with pytest.raises(SystemExit) as caught:
        call('visualize', *(a.format(**values) for a in arguments))
    assert message in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('arguments', [
    ['masks', 'x.py', '--policies', 'edgy'], ['edges', 'x.py', '--operators', 'edgy'], ['data', 'x.py', '--num', '0'],
    ['paint', 'x.py'], ['features', 'x.py']])
def test_wrong_options_are_refused(call, arguments, capsys):
    with pytest.raises(SystemExit, match='2'):
        call('visualize', *arguments)
    assert 'error:' in capsys.readouterr().err
