"""Windows on the map, and the features of windows from overlapping views."""
import numpy as np
import pyogrio
import rasterio
import shapely
import torch
from rasterio.transform import from_origin

from egmim_mm.inference.blending import Grid
from egmim_mm.study.model_uncertainty import disagreement, entropy
from egmim_mm.study.model_views import View, _joined, places_of
from egmim_mm.study.suggested_windows import write_boxes


def write(path, crs, left):
    with rasterio.open(path, 'w', driver='GTiff', width=64, height=64, count=3, dtype='uint8', crs=crs,
                       transform=from_origin(left, 1000, 0.5, 0.5)) as file:
        file.write(np.zeros((3, 64, 64), np.uint8))
    return str(path)


def test_boxes_lie_where_the_windows_are(tmp_path):
    first, second = write(tmp_path / 'a.tif', 'EPSG:32633', 500), write(tmp_path / 'b.tif', 'EPSG:32633', 600)
    assert write_boxes([(second, 32, 0), (first, 0, 32)], 32, tmp_path / 'out.gpkg')
    info, _, outlines, fields = pyogrio.raw.read(tmp_path / 'out.gpkg')
    assert info['crs'] == 'EPSG:32633' and fields[0].tolist() == [1, 2] and fields[1].tolist() == ['b.tif', 'a.tif']
    assert [shapely.from_wkb(outline).bounds for outline in outlines] == [(616, 984, 632, 1000), (500, 968, 516, 984)]
    elsewhere = write(tmp_path / 'c.tif', 'EPSG:32634', 500)
    assert not write_boxes([(first, 0, 0), (elsewhere, 0, 0)], 32, tmp_path / 'out.gpkg')
    assert not (tmp_path / 'out.gpkg').exists()


def test_entropy_is_a_share_of_the_largest():
    probabilities = torch.tensor([[0.25, 1.0, 0.5], [0.25, 0.0, 0.5], [0.25, 0.0, 0.0], [0.25, 0.0, 0.0]])
    assert torch.allclose(entropy(probabilities), torch.tensor([1.0, 0.0, 0.5]))
    assert disagreement(probabilities, probabilities.flip(0)).tolist() == [False, True, True]
    assert not disagreement(probabilities, probabilities).any()


def test_features_of_views_meet_at_their_places():
    grid = Grid(96, 96, 64, 0.25)
    assert list(grid.tops) == [0, 32] and len(grid) == 4
    pools = [torch.full((1, 2, 2), float(number)) for number in range(4)]
    joined = _joined(pools, grid)
    assert joined.tolist() == [[[0, 0.5, 1], [1, 1.5, 2], [2, 2.5, 3]]]


def test_windows_need_data_in_half_of_them():
    valid = np.ones((70, 64), bool)
    valid[:20, :32] = False  # more than half of the first window
    valid[:, 63] = False
    unsure = np.zeros((70, 64), np.float32)
    unsure[:, 32:] = 0.4
    unsure[32:, :32] = 0.2
    features = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    differs = np.zeros((70, 64), bool)
    differs[0, 32:48] = True
    places = places_of(View(unsure, differs, valid, features), 32)
    assert [(place.x, place.y) for place in places] == [(32, 0), (0, 32), (32, 32)]
    assert np.allclose([place.uncertainty for place in places], [0.4, 0.2, 0.4])
    assert np.allclose(places[0].disagreement, 16 / (32 * 31)) and places[1].features.tolist() == [2]
    whole, = places_of(View(unsure, None, valid, features), None)
    assert whole.disagreement is None and whole.features.tolist() == [2.5] and (whole.x, whole.y) == (0, 0)
    assert places_of(View(unsure, None, ~valid & False, features), None) == []
