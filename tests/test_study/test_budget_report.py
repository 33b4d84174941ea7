"""Split files and reports of label budgets."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from egmim_mm.datasets.label_budget import select_tiles
from egmim_mm.study.budget_report import budget_rows, report_budgets, split_name


@pytest.fixture
def dataset():
    """Ten tiles of two areas; water is in one tile only, and one class in none."""
    pixels = np.tile([300, 100, 0, 0], (10, 1))
    pixels[7] = [0, 0, 500, 0]
    return SimpleNamespace(tile_names=[f'area_{i // 5}/{i}' for i in range(10)], class_pixels=lambda: pixels,
                           sources=[f'area_{i // 5}' for i in range(10)],
                           metainfo=dict(classes=('road', 'roof', 'water', 'snow')))


def test_rows_say_what_a_budget_holds(dataset):
    one, two = budget_rows(dataset, ['1', '20%'], [3])
    assert two['tiles'] == select_tiles(dataset.tile_names, dataset.class_pixels(), 2, 3)
    assert 'area_1/7' in two['tiles'] and two['missing'] == [] and two['covered'] == ['road', 'roof', 'water']
    assert two['shares'] == pytest.approx(dict(road=300 / 900, roof=100 / 900, water=500 / 900, snow=0))
    assert one['tiles'] == two['tiles'][:1] and one['missing'] == ['water']  # snow is nowhere, so it is not missed
    assert one['sources'] == [one['tiles'][0].split('/')[0]]


def test_files(dataset, tmp_path):
    rows = report_budgets(dataset, ['10%', '5'], [0, 1], tmp_path / 'out')
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        '10pct_seed0.txt', '10pct_seed1.txt', '5_seed0.txt', '5_seed1.txt', 'budgets.json', 'budgets.png']
    assert (tmp_path / 'out/5_seed1.txt').read_text().split('\n') == [*rows[3]['tiles'], '']
    assert json.loads((tmp_path / 'out/budgets.json').read_text())['rows'] == json.loads(json.dumps(rows))
    with Image.open(tmp_path / 'out/budgets.png') as picture:
        assert len(np.unique(np.array(picture.convert('RGB')).reshape(-1, 3), axis=0)) > 10


def test_names_of_split_files_and_bad_budgets(dataset, tmp_path):
    assert [split_name(b, 2) for b in ('5%', '0.05', '17')] == ['5pct_seed2.txt', '0.05_seed2.txt', '17_seed2.txt']
    with pytest.raises(ValueError, match='larger than the data, which has 10 tiles'):
        report_budgets(dataset, ['11'], [0], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
