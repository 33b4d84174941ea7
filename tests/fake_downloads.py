"""Downloads of a few pixels in the real layouts and with the real file names."""
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from egmim_mm.converters.potsdam import SPLITS as POTSDAM
from egmim_mm.converters.vaihingen import SPLITS as VAIHINGEN
from egmim_mm.datasets.class_sets import ISAID_16, ISPRS_6

ISPRS_COLORS = np.array([[0, 0, 0], *ISPRS_6['metainfo']['palette']], np.uint8)  # by number in the mask tiles
ISAID_COLORS = np.array(ISAID_16['metainfo']['palette'], np.uint8)
VAIHINGEN_GT = 'ISPRS_semantic_labeling_Vaihingen_ground_truth'


def image_bytes(array: np.ndarray, suffix: str = '.tif', **options) -> bytes:
    """An image file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, {'.tif': 'TIFF', '.png': 'PNG', '.jpg': 'JPEG'}[suffix], **options)
    return file.getvalue()


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def labels(seed: int, height: int, width: int, first: int, count: int) -> np.ndarray:
    """(H, W) uint8 random numbers first ... first + count - 1."""
    return np.random.default_rng(seed).integers(first, first + count, (height, width)).astype(np.uint8)


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1000 + seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def eroded(full: np.ndarray) -> np.ndarray:
    """The first row stands for the borders that the eroded reference blanks."""
    return np.concatenate([np.zeros_like(full[:1]), full[1:]])


def write_vaihingen(folder: Path, height: int = 12, width: int = 10) -> dict[str, np.ndarray]:
    """The three zip files as the ISPRS gives them out; returns the full labels of each area."""
    areas = {name: labels(i, height, width, 1, 6) for i, name in enumerate(sum(VAIHINGEN.values(), []))}
    top, full, blank = {}, {}, {}
    for i, (name, label) in enumerate(areas.items()):
        stem = f'top_mosaic_09cm_{name}'
        top[f'top/{stem}.tif'] = image_bytes(picture(i, height, width))
        top[f'dsm/dsm_09cm_matching_{name}.tif'] = b'a height model'
        if name in VAIHINGEN['train']:  # an older reference under the image's own name
            top[f'gts_for_participants/{stem}.tif'] = b'not read'
        full[f'{stem}.tif'] = image_bytes(ISPRS_COLORS[label])
        blank[f'{stem}_noBoundary.tif'] = image_bytes(ISPRS_COLORS[eroded(label)])
    blank['top_mosaic_09cm_area9_noBoundary.tif'] = blank['top_mosaic_09cm_area1_noBoundary.tif']  # published, unused
    write_zip(folder / 'ISPRS_semantic_labeling_Vaihingen.zip', top)
    write_zip(folder / f'{VAIHINGEN_GT}_COMPLETE.zip', full)
    write_zip(folder / f'{VAIHINGEN_GT}_eroded_COMPLETE.zip', blank)
    return areas


def write_potsdam(folder: Path, size: int = 8) -> dict[str, np.ndarray]:
    """The three zip files; some of the labels write the image number with two digits, as the height models do."""
    images = {name: labels(i, size, size, 1, 6) for i, name in enumerate(sum(POTSDAM.values(), []))}
    rgb, full, blank = {}, {}, {}
    for i, (name, label) in enumerate(images.items()):
        row, column = name.split('_')
        rgb[f'2_Ortho_RGB/top_potsdam_{name}_RGB.tif'] = image_bytes(picture(i, size, size))
        rgb[f'2_Ortho_RGB/top_potsdam_{name}_RGB.tfw'] = b'0.05'
        full[f'top_potsdam_{row}_{int(column):02d}_label.tif'] = image_bytes(ISPRS_COLORS[label])
        blank[f'top_potsdam_{name}_label_noBoundary.tif'] = image_bytes(ISPRS_COLORS[eroded(label)])
    write_zip(folder / '2_Ortho_RGB.zip', rgb)
    write_zip(folder / '5_Labels_all.zip', full)
    write_zip(folder / '5_Labels_all_noBoundary.zip', blank)
    return images


def write_loveda(folder: Path, size: int = 8) -> dict[str, np.ndarray]:
    """Train.zip with two images, Val.zip with one, Test.zip with one; returns the labels."""
    parts = dict(Train=dict(Rural='0', Urban='1366'), Val=dict(Rural='2522'), Test=dict(Urban='4191'))
    truth = {}
    for part, areas in parts.items():
        files = {}
        for area, name in areas.items():
            files[f'{part}/{area}/images_png/{name}.png'] = image_bytes(picture(int(name), size, size), '.png')
            if part != 'Test':
                truth[name] = labels(int(name), size, size, 0, 8)
                files[f'{part}/{area}/masks_png/{name}.png'] = image_bytes(truth[name], '.png')
        write_zip(folder / f'{part}.zip', files)
    return truth


def write_isaid(folder: Path) -> dict[str, np.ndarray]:
    """train: P0000 of 20 x 10 px (height x width) in part1.zip, P0001 of 6 x 6 in part2.zip; val: P0003 of 8 x 9."""
    sizes = dict(train=dict(P0000=(20, 10), P0001=(6, 6)), val=dict(P0003=(8, 9)))
    truth = {}
    for split, images in sizes.items():
        masks = {}
        for part, (name, size) in enumerate(images.items()):
            truth[name] = labels(int(name[1:]), *size, 0, 16)
            content = {f'images/{name}.png': image_bytes(picture(int(name[1:]), *size), '.png')}
            write_zip(folder / split / 'images' / f'part{part + 1}.zip', content)
            masks[f'images/{name}_instance_color_RGB.png'] = image_bytes(ISAID_COLORS[truth[name]], '.png')
        write_zip(folder / split / 'Semantic_masks' / 'images.zip', masks)
    return truth
