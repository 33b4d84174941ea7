"""The documentation names files that exist, and its configs work as they stand."""
import importlib
import re
import runpy
import shutil
from glob import glob
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image
from test_import_order import MAY_IMPORT, ROOMS

from egmim_mm import registry
from egmim_mm.engine.device import adapt_to_device
from egmim_mm.engine.launch import load_config
from egmim_mm.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')])
TOP_LEVEL = sorted(ROOT.glob('configs/*.py'))
NEW_DATASET = (ROOT / 'docs/new_dataset.md').read_text(encoding='utf-8')

# docs/new_dataset.md tells its reader to write these
WRITTEN_BY_THE_READER = {
    'configs/_base_/datasets/mine.py', 'configs/_base_/datasets/mine_folders.py',
    'configs/_base_/datasets/mine_areas.py', 'configs/egmim_dapt_mine.py', 'configs/upernet_mine.py',
    'configs/egmim_dapt_mine_cpu.py', 'configs/upernet_mine_cpu.py'
}
# and README.md these
WRITTEN_FOR_THE_MAP = {'configs/_base_/datasets/area.py', 'configs/egmim_dapt_area.py', 'configs/upernet_area.py'}
CONFIGS = dict(re.findall(r'`(configs/[\w./]+\.py)`\n\n```python\n(.*?)```', NEW_DATASET, re.DOTALL))
NAMES = ('background', 'building', 'road', 'tree')
COLORS = np.array([[0, 0, 0], [200, 200, 200], [200, 30, 30], [90, 90, 90], [30, 140, 30]], np.uint8)


# docs/predict.md: entries of the metadata of an ONNX file
KEYS_IN_FILES = {'classes', 'palette', 'bands', 'window', 'weights_sha256', 'mean', 'std', 'size'}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize('page', PAGES, ids=relative)
def test_relative_links_point_to_files(page):
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    targets = [t.partition('#')[0] for t in re.findall(r'\]\(([^)\s]+)[^)]*\)', text) if '://' not in t]
    assert [t for t in targets if t and not (page.parent / t).exists()] == []


def anchors(page: Path) -> set:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    return {re.sub(r'[^\w -]', '', title.lower()).strip().replace(' ', '-')
            for title in re.findall(r'^#+ (.+)$', text, re.MULTILINE)}


@pytest.mark.parametrize('page', PAGES, ids=relative)
def test_links_into_pages_point_to_headings(page):
    text = re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)
    links = [(page.parent / name if name else page, anchor)
             for name, anchor in re.findall(r'\]\(([\w./]*)#([\w-]+)\)', text)]
    assert [f'{target.name}#{anchor}' for target, anchor in links if anchor not in anchors(target)] == []


def expand(pattern: str) -> list:
    """Shell braces: 'a_{b,c}.py' -> ['a_b.py', 'a_c.py']."""
    match = re.search(r'{([^}]*)}', pattern)
    if match is None:
        return [pattern]
    return [p for part in match[1].split(',') for p in expand(pattern.replace(match[0], part, 1))]


@pytest.mark.parametrize('page', PAGES, ids=relative)
def test_files_of_the_repository_that_are_named_exist(page):
    text = page.read_text(encoding='utf-8')
    named = re.findall(r'(?<![\w/.-])(?:tools|configs|tests|requirements)/[\w./{},*-]*', text)
    paths = {path for name in named for path in expand(name.rstrip('.,'))}
    paths -= WRITTEN_BY_THE_READER | WRITTEN_FOR_THE_MAP
    assert [path for path in sorted(paths) if not glob(str(ROOT / path))] == []


@pytest.mark.parametrize('page', PAGES, ids=relative)
def test_modules_of_the_package_that_are_named_exist(page):
    text = page.read_text(encoding='utf-8')
    files = set(re.findall(r'(?<![\w/.-])(egmim_mm/[\w./-]*)', text))
    assert [name for name in sorted(files) if not (ROOT / name.rstrip('.')).exists() and '.mim' not in name] == []
    examples = {f'egmim_mm.{name}' for name in re.findall(r'^class (\w+)', text, re.MULTILINE)}  # written on the page
    names = set(re.findall(r'\begmim_mm(?:\.\w+)+', text)) - examples
    assert [name for name in sorted(names) if not resolves(name)] == []


def resolves(name: str) -> bool:
    """'egmim_mm.edges.hog' or, by a registry, 'egmim_mm.EGMIM'; keys of files such as 'egmim_mm.bands' have no capital
    and no module, and are checked by name."""
    package, *rest = name.split('.')
    if len(rest) == 1 and rest[0] in KEYS_IN_FILES:
        return True
    if len(rest) == 1 and rest[0][0].isupper():
        return any(rest[0] in group.module_dict for group in registered_groups())
    found = importlib.import_module(package)
    for part in rest:
        if not hasattr(found, part):
            try:
                importlib.import_module(f'{found.__name__}.{part}')
            except (ImportError, AttributeError):
                return False
        found = getattr(found, part)
    return True


def registered_groups() -> list:
    for name in registry.__all__:
        getattr(registry, name).import_from_location()
    return [getattr(registry, name) for name in registry.__all__]


def test_architecture_names_every_room_in_the_order_of_imports():
    page = (ROOT / 'docs/architecture.md').read_text(encoding='utf-8')
    rows = re.findall(r'^\| (`.+?`) \|', page.partition('## What flows')[0], re.MULTILINE)
    named = [name.removesuffix('/').removesuffix('.py') for row in rows for name in re.findall(r'`([\w./]+)`', row)]
    there = {path.stem for path in (ROOT / 'egmim_mm').iterdir()
             if (path.is_dir() or path.suffix == '.py') and not path.name.startswith(('_', '.'))}
    assert set(named) == there and len(named) == len(there)
    assert [name for name in named if name in ROOMS] == list(ROOMS)
    assert set(named) - set(ROOMS) == set(MAY_IMPORT) - set(ROOMS) - {'__init__', 'datasets.label_budget'}


@pytest.mark.parametrize('picture', sorted((ROOT / 'docs/images').iterdir()), ids=relative)
def test_pictures_are_small_files_that_fit_a_page(picture):
    assert picture.stat().st_size < 300_000
    with Image.open(picture) as image:
        assert image.width <= 1260  # on a page of 830 px, text of 11 points is still 10 px high


def test_index_links_every_page():
    index = (ROOT / 'docs/index.md').read_text(encoding='utf-8')
    linked = set(re.findall(r'\]\(([\w./]+\.md)', index))
    assert {p.relative_to(ROOT / 'docs').as_posix() for p in PAGES if p.parts[len(ROOT.parts)] == 'docs'} - {
        'index.md'} <= linked


def test_config_reference_is_what_its_generator_writes():
    written = runpy.run_path(str(ROOT / 'docs/make_config_reference.py'))['reference']()
    assert (ROOT / 'docs/config_reference.md').read_text(encoding='utf-8') == written, (
        'run python docs/make_config_reference.py')


def test_config_reference_refuses_a_key_without_description():
    rows = runpy.run_path(str(ROOT / 'docs/make_config_reference.py'))['rows']

    class Undocumented:
        """A class.

        Args:
            told (int): This one is, see :class:`~egmim_mm.models.EGMIM`.
        """

        def __init__(self, told: int = 1, untold: int = 2) -> None:
            pass

    Undocumented.__module__ = 'egmim_mm.models'
    with pytest.raises(ValueError, match='Undocumented: no description of untold'):
        rows(Undocumented, set())
    assert rows(Undocumented, {'untold'}) == ['| `told` | int | `1` | This one is, see `EGMIM`. |']


def test_config_reference_names_the_class_whose_keys_are_inherited():
    inherited = runpy.run_path(str(ROOT / 'docs/make_config_reference.py'))['inherited']

    class Thin(MODELS.get('mmseg.EncoderDecoder')):
        pass

    assert inherited(Thin) == "mmseg's `EncoderDecoder`"
    assert inherited(MODELS.get('EGMIM')) == inherited(MODELS.get('CellMSELoss')) == ''


@pytest.mark.parametrize('config', TOP_LEVEL, ids=relative)
def test_top_level_configs_are_short_and_load(config):
    assert len(config.read_text().splitlines()) <= 15
    cfg = load_config(str(config))
    assert cfg.default_scope in ('mmpretrain', 'mmseg') and cfg.train_cfg.max_iters > 0


def test_the_page_holds_every_config_it_speaks_of():
    assert set(CONFIGS) == WRITTEN_BY_THE_READER
    assert {name: len(text.splitlines()) for name, text in CONFIGS.items() if len(text.splitlines()) > 15} == {}


def write_tiles(write_image, folder: Path) -> None:
    """The three layouts of the page, one in the other: 256-px tiles with file values 1-4 (lists), 0-3 or colours."""
    rng = np.random.default_rng(0)

    def write(image: str, mask: str | None, lowest: int = 0, colored: bool = False) -> None:
        classes = rng.integers(0, 4, (8, 8)).repeat(32, 0).repeat(32, 1)
        pixels = np.clip(COLORS[classes + 1] + rng.normal(0, 20, (256, 256, 3)), 0, 255)
        write_image(folder / image, pixels.astype(np.uint8))
        if mask:
            classes[:2] = -1 if lowest or colored else 255  # rows without a label
            write_image(folder / mask, COLORS[classes + 1] if colored else (classes + lowest).astype(np.uint8))

    for i in range(12):
        write(f'images/tile_{i:03d}.png', f'masks/tile_{i:03d}.png' if i < 6 else None, lowest=1)
    lists = dict(train=[f'tile_{i:03d}' for i in range(4)], test=['tile_004', 'tile_005'],
                 unlabeled=[f'images/tile_{i:03d}.png' for i in range(12) if i not in (4, 5)])
    for name, lines in lists.items():
        (folder / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    for i in range(5):
        part = 'train' if i < 3 else 'val'
        write(f'img_dir/{part}/{i}.png', f'ann_dir/{part}/{i}.png')
        for tile in 'ab':
            write(f'area_{i + 1}/images/{tile}.jpg', f'area_{i + 1}/masks/{tile}.png', colored=True)


@pytest.fixture
def reader(tmp_path, monkeypatch, write_image):
    """What a reader of the page has done: configs written beside the shipped ones, tiles in data/mine."""
    for folder in ('_base_', 'dubai_cpu'):
        shutil.copytree(ROOT / 'configs' / folder, tmp_path / 'configs' / folder)
    for name, text in CONFIGS.items():
        (tmp_path / name).write_text(text)
    write_tiles(write_image, tmp_path / 'data/mine')
    monkeypatch.chdir(tmp_path)


def build_loader(cfg, budget=None):
    init_default_scope(cfg.default_scope)
    cfg.train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False)
    if budget is not None:
        cfg.train_dataloader.sampler.budget = budget
    return Runner.build_dataloader(cfg.train_dataloader, seed=0)


def shrink(model) -> None:
    """A backbone of a few thousand parameters, and narrow heads."""
    model.backbone.arch = dict(embed_dims=8, depths=[2, 2, 2, 2], num_heads=[1, 2, 2, 4])
    if model.type == 'egmim_mm.FittedEncoderDecoder':
        model.decode_head.channels = model.auxiliary_head.channels = 8


@pytest.mark.parametrize('name, sizes', [('mine', (4, 2)), ('mine_folders', (3, 2)), ('mine_areas', (8, 2))])
def test_each_layout_is_read(reader, name, sizes):
    cfg = load_config(f'configs/_base_/datasets/{name}.py', options=dict(default_scope='mmseg', train_cfg={}))
    loader = build_loader(cfg, budget=2)
    test_set = DATASETS.build(cfg.test_dataloader.dataset)
    assert (len(loader.dataset), len(test_set)) == sizes
    assert test_set.metainfo['classes'] == NAMES
    assert len(loader.sampler.tile_names) == 2 and set(loader.sampler.tile_names) <= set(loader.dataset.tile_names)
    labels = test_set[0]['data_samples'].gt_sem_seg.data.unique().tolist()
    assert labels == [0, 1, 2, 3, 255]


@pytest.mark.parametrize('config, crop', [('egmim_dapt_mine', 224), ('egmim_dapt_mine_cpu', 128)])
def test_pretraining_configs_build_and_learn(reader, config, crop):
    cfg = load_config(f'configs/{config}.py')
    adapt_to_device(cfg)
    loader = build_loader(cfg)
    assert len(loader.dataset) == 10
    shrink(cfg.model)
    model = MODELS.build(cfg.model)
    model.set_iteration(0, 10, 0)
    batch = model.data_preprocessor(next(iter(loader)), True)
    assert batch['inputs'].shape == (2, 3, crop, crop)
    assert all(torch.isfinite(value) for value in model(**batch, mode='loss').values())


@pytest.mark.parametrize('config, crop', [('upernet_mine', 512), ('upernet_mine_cpu', 128)])
def test_segmentation_configs_build_and_learn(reader, config, crop):
    cfg = load_config(f'configs/{config}.py')
    adapt_to_device(cfg)
    assert cfg.train_dataloader.sampler.budget == 1.0
    loader = build_loader(cfg, budget=0.5)
    assert len(loader.sampler.tile_names) == 2
    shrink(cfg.model)
    model = MODELS.build(cfg.model)
    batch = model.data_preprocessor(next(iter(loader)), True)
    assert batch['inputs'].shape == (2, 3, crop, crop)
    losses = model(**batch, mode='loss')
    assert torch.isfinite(losses['decode.loss_ce']) and torch.isfinite(losses['aux.loss_ce'])
    assert model.decode_head.num_classes == model.auxiliary_head.num_classes == len(NAMES)
