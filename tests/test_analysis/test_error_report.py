"""The report on toy maps whose answer is known by hand, from the command to the file."""
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from egmim_mm.analysis.error_report import bin_name, report_errors

ROOT = Path(__file__).parents[2]


@pytest.fixture
def area(tmp_path, write_image):
    """Config and folder of one tile: a square of 6 x 6 px in the ground; predictions 'perfect' and 'missed'."""
    mask = np.zeros((20, 20), np.uint8)
    mask[4:10, 4:10] = 1
    mask[:, 19] = 255
    write_image(tmp_path / 'images/a/x.png', np.zeros((20, 20, 3), np.uint8))
    write_image(tmp_path / 'masks/a/x.png', mask)
    write_image(tmp_path / 'perfect/a/x.png', np.where(mask == 255, 0, mask).astype(np.uint8))
    write_image(tmp_path / 'missed/a/x.png', np.zeros_like(mask))
    cfg = dict(
        default_scope='mmseg',
        test_dataloader=dict(dataset=dict(
            type='egmim_mm.SegmentationTiles', data_root=str(tmp_path), img_suffix='.png', test_mode=True,
            data_prefix=dict(img_path='images', seg_map_path='masks'),
            metainfo=dict(classes=('ground', 'roof')), pipeline=[dict(type='egmim_mm.LoadTile')])))
    Config(cfg).dump(tmp_path / 'area.py')
    return Config.fromfile(tmp_path / 'area.py'), tmp_path


def test_rows_by_hand(area):
    cfg, root = area
    models = {name: str(root / name) for name in ('perfect', 'missed')}
    found = report_errors(cfg, models, root / 'out', distances=(0, 1, 5), sizes=(0, 36, 37))
    for rows in found['perfect'].values():
        assert all(row['mIoU'] == 100 or np.isnan(row['mIoU']) for row in rows)
    near, middle, far = found['missed']['distance']
    # boundary pixels: the outer 20 of the roof, and the 28 of the ground around it
    assert near['IoU'] == dict(ground=pytest.approx(100 * 28 / 48), roof=0) and near['pixels'] == 48
    assert middle['IoU']['roof'] == 0 and (middle['from'], middle['to']) == (1, 5)
    assert far['IoU']['ground'] == 100 and np.isnan(far['IoU']['roof'])
    assert near['pixels'] + middle['pixels'] + far['pixels'] == 20 * 19
    small, exact, large = found['missed']['size']
    assert exact['objects'] == dict(ground=0, roof=1) and exact['IoU']['roof'] == 0 and exact['mIoU'] == 0
    assert np.isnan(small['mIoU']) and large['objects'] == dict(ground=1, roof=0)
    assert large['IoU']['ground'] == pytest.approx(100 * 344 / 380)
    assert [bin_name(row) for row in found['missed']['size']] == ['0 to 36', '36 to 37', '37 and more']
    written = json.loads((root / 'out/errors.json').read_text())
    assert written['models']['missed']['distance'][0]['pixels'] == 48 and written['tiles'] == 1
    assert written['models']['missed']['size'][0]['mIoU'] is None
    assert np.asarray(Image.open(root / 'out/errors.png')).std() > 0


def test_command(area, monkeypatch, capsys):
    _, root = area
    monkeypatch.setattr('sys.argv', ['analyze', 'errors', str(root / 'area.py'), '--predictions', str(root / 'perfect'),
                                     '--out', str(root / 'out')])
    runpy.run_path(str(ROOT / 'tools/analyze.py'), run_name='__main__')
    assert '32 and more' in capsys.readouterr().out and (root / 'out/errors.json').is_file()


def test_bad_input(area, write_image):
    cfg, root = area
    with pytest.raises(ValueError, match=r'nowhere/a/x.png: no such prediction; .*--out'):
        report_errors(cfg, dict(a=str(root / 'nowhere')), root / 'out')
    write_image(root / 'wrong/a/x.png', np.full((20, 20), 2, np.uint8))
    with pytest.raises(ValueError, match='classes 0 to 1 .* its maximum 2'):
        report_errors(cfg, dict(a=str(root / 'wrong')), root / 'out')
    with pytest.raises(ValueError, match='sizes are .*ascending'):
        report_errors(cfg, dict(a=str(root / 'perfect')), root / 'out', sizes=(0, 9, 5))
