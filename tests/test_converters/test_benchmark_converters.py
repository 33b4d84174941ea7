"""Fake downloads in the real layouts become exactly the tiles, labels, counts and manifests that are expected."""
import json

import numpy as np
import pytest
import torch
from fake_downloads import (
    VAIHINGEN_GT,
    eroded,
    image_bytes,
    picture,
    write_isaid,
    write_loveda,
    write_potsdam,
    write_vaihingen,
    write_zip,
)
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from PIL import Image

from egmim_mm.converters.archives import ConversionError
from egmim_mm.converters.isaid import convert_isaid
from egmim_mm.converters.loveda import convert_loveda
from egmim_mm.converters.potsdam import convert_potsdam
from egmim_mm.converters.vaihingen import SPLITS, convert_vaihingen
from egmim_mm.registry import DATASETS, METRICS
from egmim_mm.storage.mask_values import read_mask


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def load(config, root, split, crop=8):
    """The data set of a shipped config, on the converted tiles."""
    cfg = Config.fromfile(f'configs/_base_/datasets/{config}.py')
    dataset = dict(cfg[f'{split}_dataloader'].dataset, data_root=str(root), pipeline=[
        dict(type='egmim_mm.LoadTile'), dict(type='egmim_mm.LoadTileMask')])
    return DATASETS.build(dataset)


@pytest.fixture(autouse=True)
def repository(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def test_vaihingen_config_measures_boundaries_in_the_full_reference(tmp_path):
    write_vaihingen(tmp_path / 'zips')
    convert_vaihingen(str(tmp_path / 'zips'), str(tmp_path / 'out'), crop=8, stride=4)
    cfg = Config.fromfile('configs/upernet_vaihingen.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(tmp_path / 'out')))
        sample = dataset[0]['data_samples']
    eroded = sample.gt_sem_seg.data[0].numpy()
    full = read_mask(sample.full_seg_map_path, sample.mask_table)
    assert f'ann_dir_full/val/{sample.tile_name}.png' in sample.full_seg_map_path
    assert (eroded[eroded != 255] == full[eroded != 255]).all() and (full != 255).sum() > (eroded != 255).sum()
    guess = np.where(full == 255, 0, full).astype(np.int64)
    blank = (eroded == 255) & (full != 255)
    guess[blank] = (guess[blank] + 1) % 5  # wrong where the eroded reference does not look
    scores = []
    for truth in (full, eroded):  # the full reference counts, whatever the labels hold
        metric = METRICS.build(cfg.test_evaluator[1])
        metric.dataset_meta = dataset.metainfo
        sample.gt_sem_seg.data = torch.from_numpy(truth.copy())[None]
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(guess)[None])
        metric.process({}, [sample.to_dict()])
        scores.append(metric.evaluate(1)['boundary_mIoU_3px'])
    assert scores[0] == scores[1] < 100


def test_vaihingen(tmp_path):
    truth = write_vaihingen(tmp_path / 'zips')
    out = tmp_path / 'out'
    manifest = convert_vaihingen(str(tmp_path / 'zips'), str(out), crop=8, stride=4)

    # 12 x 10 px (height x width), 8-px tiles every 4 px: rows 0 and 4, columns 0 and 2
    grid = [(0, 0), (0, 4), (2, 0), (2, 4)]  # x, y
    names = {split: sorted(f'{area}_{x}_{y}_{x + 8}_{y + 8}.png' for area in areas for x, y in grid)
             for split, areas in SPLITS.items()}
    expected = [f'{folder}/{split}/{name}' for folder in ('img_dir', 'ann_dir', 'ann_dir_full')
                for split in names for name in names[split]]
    assert [f for f in files(out) if '_dir' in f] == sorted(expected)
    for x, y in grid:
        tile = f'train/area3_{x}_{y}_{x + 8}_{y + 8}.png'
        part = np.s_[y:y + 8, x:x + 8]
        full = truth['area3']
        assert (read(out / 'ann_dir_full' / tile) == full[part]).all()
        assert (read(out / 'ann_dir' / tile) == eroded(full)[part]).all()
        index = list(truth).index('area3')
        assert (read(out / 'img_dir' / tile) == picture(index, 12, 10)[part]).all()

    assert manifest == json.loads((out / 'dataset.json').read_text())
    assert manifest['complete'] and manifest['settings']['crop'] == 8 and manifest['settings']['stride'] == 4
    assert {s: (f['images'], f['tiles']) for s, f in manifest['splits'].items()} == dict(train=(16, 64), val=(17, 68))
    assert [len(fact['sha256']) for fact in manifest['sources']] == [64] * 3
    counts = manifest['splits']['train']['class_pixels']
    tiles = [read(path) for path in (out / 'ann_dir/train').iterdir()]
    assert list(counts['ann_dir'].values()) == [int(sum((t == k).sum() for t in tiles)) for k in range(1, 7)]
    assert sum(counts['ann_dir_full'].values()) == 64 * 64

    dataset = load('vaihingen', out, 'val')
    sample = dataset[0]
    raw = read(sample['seg_map_path'])
    assert len(dataset) == 68
    assert (sample['gt_seg_map'] == np.where((raw == 0) | (raw == 6), 255, raw - 1)).all()


def test_potsdam(tmp_path):
    truth = write_potsdam(tmp_path / 'Potsdam')
    out = tmp_path / 'out'
    manifest = convert_potsdam(str(tmp_path), str(out), crop=4, stride=4)
    assert {s: f['tiles'] for s, f in manifest['splits'].items()} == dict(train=24 * 4, val=14 * 4)
    assert (read(out / 'ann_dir_full/train/6_7_4_0_8_4.png') == truth['6_7'][:4, 4:]).all()
    assert (read(out / 'ann_dir/val/7_13_4_0_8_4.png') == eroded(truth['7_13'])[:4, 4:]).all()
    assert len(load('potsdam', out, 'train')) == 96


def test_loveda(tmp_path):
    truth = write_loveda(tmp_path / 'zips')
    out = tmp_path / 'out'
    manifest = convert_loveda(str(tmp_path / 'zips'), str(out), partial=True)
    assert [f for f in files(out) if '_dir' in f] == [
        'ann_dir/train/0.png', 'ann_dir/train/1366.png', 'ann_dir/val/2522.png', 'img_dir/test/4191.png',
        'img_dir/train/0.png', 'img_dir/train/1366.png', 'img_dir/val/2522.png']
    assert (read(out / 'ann_dir/train/1366.png') == truth['1366']).all()
    assert (read(out / 'img_dir/test/4191.png') == picture(4191, 8, 8)).all()
    assert manifest['splits']['test']['class_pixels'] == {}
    sample = load('loveda', out, 'train')[1]
    assert sample['tile_name'] == '1366'
    assert (sample['gt_seg_map'] == truth['1366'] - np.uint8(1)).all()  # 0, no data, becomes 255


def test_loveda_in_tiles(tmp_path):
    truth = write_loveda(tmp_path / 'zips')
    convert_loveda(str(tmp_path / 'zips'), str(tmp_path / 'out'), crop=5, stride=3, partial=True)
    assert (read(tmp_path / 'out/ann_dir/val/2522_3_0_8_5.png') == truth['2522'][:5, 3:]).all()


def test_isaid(tmp_path):
    truth = write_isaid(tmp_path / 'zips')
    out = tmp_path / 'out'
    manifest = convert_isaid(str(tmp_path / 'zips'), str(out), crop=8, stride=5, partial=True)
    # mmsegmentation's names: y0, y1, x0, x1; P0000 is 20 x 10 px, P0001 is smaller than a patch
    names = ['P0000_0_8_0_8', 'P0000_0_8_2_10', 'P0000_10_18_0_8', 'P0000_10_18_2_10', 'P0000_12_20_0_8',
             'P0000_12_20_2_10', 'P0000_5_13_0_8', 'P0000_5_13_2_10', 'P0001_0_8_0_8']
    assert files(out / 'img_dir/train') == [f'{name}.png' for name in names]
    assert files(out / 'ann_dir/train') == [f'{name}_instance_color_RGB.png' for name in names]
    assert (read(out / 'ann_dir/train/P0000_10_18_2_10_instance_color_RGB.png') == truth['P0000'][10:18, 2:10]).all()
    padded = read(out / 'ann_dir/train/P0001_0_8_0_8_instance_color_RGB.png')
    assert (padded[:6, :6] == truth['P0001']).all() and (padded[6:] == 255).all() and (padded[:, 6:] == 255).all()
    image = read(out / 'img_dir/train/P0001_0_8_0_8.png')
    assert (image[:6, :6] == picture(1, 6, 6)).all() and not image[6:].any() and not image[:, 6:].any()
    assert manifest['splits']['val']['tiles'] == 2
    sample = load('isaid', out, 'val')[0]
    assert (sample['gt_seg_map'] == truth['P0003'][:, :8]).all()


def test_folders_that_were_unpacked_are_read_too(tmp_path):
    from zipfile import ZipFile
    truth = write_vaihingen(tmp_path / 'zips')
    for path in list((tmp_path / 'zips').glob('*.zip')):
        with ZipFile(path) as archive:
            archive.extractall(tmp_path / 'unpacked' / path.stem)
    manifest = convert_vaihingen(str(tmp_path / 'unpacked'), str(tmp_path / 'out'), crop=8, stride=8)
    assert (read(tmp_path / 'out/ann_dir_full/val/area38_2_4_10_12.png') == truth['area38'][4:, 2:]).all()
    assert len(manifest['splits']['val']['sha256']) == 17 * 3  # each loose file


def test_the_eroded_reference_alone_is_enough_in_compat_mode_only(tmp_path):
    write_vaihingen(tmp_path)
    (tmp_path / f'{VAIHINGEN_GT}_COMPLETE.zip').unlink()
    with pytest.raises(ConversionError, match=f'lacks {VAIHINGEN_GT}_COMPLETE.zip .full references.*Zip files there: '
                       'ISPRS_semantic_labeling_Vaihingen.zip, .*isprs.org'):
        convert_vaihingen(str(tmp_path), str(tmp_path / 'out'), crop=8, stride=8)
    convert_vaihingen(str(tmp_path), str(tmp_path / 'out'), crop=8, stride=8, compat='mmseg')
    assert not (tmp_path / 'out/ann_dir_full').exists()


def test_a_truncated_zip_file(tmp_path):
    write_vaihingen(tmp_path)
    path = tmp_path / 'ISPRS_semantic_labeling_Vaihingen.zip'
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ConversionError, match='Vaihingen.zip: not a complete zip file .*3000 bytes.; download it'):
        convert_vaihingen(str(tmp_path), str(tmp_path / 'out'))


def test_a_damaged_member_of_a_zip_file(tmp_path):
    write_loveda(tmp_path)
    write_zip(tmp_path / 'Val.zip', {'Val/Rural/images_png/2522.png': image_bytes(picture(0, 40, 40), '.png')[:-900],
                                     'Val/Rural/masks_png/2522.png': b''})
    with pytest.raises(ConversionError, match='Val.zip/Val/Rural/images_png/2522.png: .*damaged'):
        convert_loveda(str(tmp_path), str(tmp_path / 'out'), partial=True)


@pytest.mark.parametrize('name', ['../../evil/0.png', '/etc/0.png', 'C:/0.png', 'Val\\..\\..\\0.png'])
def test_a_path_that_points_outside_of_a_zip_file(tmp_path, name):
    write_loveda(tmp_path)
    write_zip(tmp_path / 'Val.zip', {name: b'x'})
    with pytest.raises(ConversionError, match='points outside the archive'):
        convert_loveda(str(tmp_path), str(tmp_path / 'out'), partial=True)
    assert not (tmp_path / 'out').exists()


def test_missing_images_are_counted(tmp_path):
    write_loveda(tmp_path)
    with pytest.raises(ConversionError, match='Train.zip: holds 2 of the 2522 images.*--partial'):
        convert_loveda(str(tmp_path), str(tmp_path / 'out'))
    with pytest.raises(ConversionError, match='lacks train/images/.*; train/Semantic_masks'):
        convert_isaid(str(tmp_path), str(tmp_path / 'out'))
    with pytest.raises(ConversionError, match='nowhere is not a folder'):
        convert_potsdam(str(tmp_path / 'nowhere'), str(tmp_path / 'out'))


def test_the_labels_of_participants_are_not_enough(tmp_path):
    write_potsdam(tmp_path)
    write_zip(tmp_path / '5_Labels_all.zip', {'top_potsdam_2_10_label.tif': b''})
    with pytest.raises(ConversionError, match='5_Labels_all.zip lacks 37 of the 38 full references: 2_11, '):
        convert_potsdam(str(tmp_path), str(tmp_path / 'out'))


def test_stray_colours_of_a_published_mask_become_unlabelled_and_many_are_an_error(tmp_path):
    write_vaihingen(tmp_path, 20, 20)
    path = tmp_path / f'{VAIHINGEN_GT}_COMPLETE.zip'
    from zipfile import ZipFile
    with ZipFile(path) as archive:
        content = {info.filename: archive.read(info) for info in archive.infolist()}
    name = 'top_mosaic_09cm_area1.tif'
    mask = np.full((20, 20, 3), 255, np.uint8)
    mask[0, :2] = 252, 255, 0
    write_zip(path, content | {name: image_bytes(mask)})
    manifest = convert_vaihingen(str(tmp_path), str(tmp_path / 'out'), crop=20, stride=20)
    assert manifest['splits']['train']['stray'] == {'#FCFF00': 2}
    assert read(tmp_path / 'out/ann_dir_full/train/area1_0_0_20_20.png')[0, :3].tolist() == [0, 0, 1]
    mask[:10] = 252, 255, 0
    write_zip(path, content | {name: image_bytes(mask)})
    with pytest.raises(ConversionError, match=r'area1.tif: 50.00% .*#FCFF00 \(200 px\)'):
        convert_vaihingen(str(tmp_path), str(tmp_path / 'other'), crop=20, stride=20)
