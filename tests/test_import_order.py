"""Imports inside the package go one way, up the floors of the house.

The rules stand in ``MAY_IMPORT``; a new module or subpackage has to be given its place there. Every
import statement counts, also one inside a function.
"""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'egmim_mm'
STACK = {'mmcv', 'mmengine', 'mmpretrain', 'mmseg'}
FOREIGN = {'tools', 'tests', 'configs'}  # of the repository, not of the package

# Maths: tensors and arrays in and out; no registry, no config, no OpenMMLab.
PURE = {'edges', 'masking', 'precision', 'datasets.label_budget', 'band_order', 'colors', 'cores', 'readout',
        'batch_augmentation'}
GROUND = {'version', 'environment', 'processes'}
BASE = GROUND | PURE | {'registry', 'records', 'subcommands', 'option_values'}
# The house, ground floor first: each room may use the ones before it (docs/architecture.md), but the
# parts that configs compose stand side by side: a model knows no data, and data know no model.
ROOMS = ('models', 'checkpoints', 'storage', 'synthetic', 'datasets', 'converters', 'evaluation', 'inference',
         'pictures', 'checks', 'engine', 'baselines', 'analysis', 'benchmark', 'study')
APART = {
    'storage': {'models', 'checkpoints'},
    'synthetic': {'models', 'checkpoints', 'storage'},
    'datasets': {'models', 'checkpoints'},
    'converters': {'models', 'checkpoints', 'synthetic'},
}
MAY_IMPORT = {
    '__init__': GROUND,
    'version': set(),
    'environment': {'version', 'processes'},
    'registry': GROUND,
    'records': GROUND,
    'subcommands': GROUND | {'option_values'},
    'band_order': set(),
    'colors': set(),
    'option_values': GROUND,
    'processes': set(),
    'edges': GROUND,
    'masking': GROUND | {'edges'},
    'precision': GROUND,
    'cores': set(),
    'batch_augmentation': GROUND,
    'readout': GROUND | {'precision'},
    'datasets.label_budget': GROUND,
    **{name: BASE | set(ROOMS[:rank]) - APART.get(name, set()) for rank, name in enumerate(ROOMS)},
}


def component(module):
    """'egmim_mm.models.heads.x' -> 'models'; a pure module inside a subpackage is its own component."""
    parts = module.split('.')[1:]
    for length in range(len(parts), 0, -1):
        name = '.'.join(parts[:length])
        if name in PURE:
            return name
    return parts[0] if parts else '__init__'


def imported_modules(source, module, is_package=False):
    """Absolute dotted names a source imports; a name imported from the package root or from a
    subpackage that holds a pure module is resolved to that module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parents = module.split('.') if is_package else module.split('.')[:-1]
                parents = parents[:len(parents) - node.level + 1]
                base = '.'.join(parents + ([base] if base else []))
            for alias in node.names:
                full = f'{base}.{alias.name}'
                resolves = base == PACKAGE and alias.name in MAY_IMPORT
                yield full if resolves or full.removeprefix(f'{PACKAGE}.') in PURE else base


def violations(source, module, is_package=False):
    """Sentences, one for each import of a source that the order forbids."""
    here = component(module)
    if here not in MAY_IMPORT:
        return [f'{module}: {here} has no place in MAY_IMPORT']
    found = []
    for target in imported_modules(source, module, is_package):
        top = target.split('.')[0]
        if top in FOREIGN:
            found.append(f'{module} imports {target}: the package must work without the repository')
        elif top in STACK and here in PURE:
            found.append(f'{module} imports {target}: it is pure')
        elif top == PACKAGE:
            there = component(target)
            # The package root offers the version and the environment check, which all may use.
            if there not in {here, '__init__'} | MAY_IMPORT[here]:
                found.append(f'{module} imports {target}: {here} must not know {there}')
    return found


def package_sources():
    for path in sorted((ROOT / PACKAGE).rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        is_package = parts[-1] == '__init__'
        yield path, '.'.join(parts[:-1] if is_package else parts), is_package


def test_imports_of_the_package_go_one_way():
    sources = list(package_sources())
    assert len(sources) > 5
    found = [text for path, module, is_package in sources
             for text in violations(path.read_text(encoding='utf-8'), module, is_package)]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize(('module', 'source', 'says'), [
    ('egmim_mm.edges', 'from mmengine.model import BaseModule', 'it is pure'),
    ('egmim_mm.edges', 'import egmim_mm.registry', 'edges must not know registry'),
    ('egmim_mm.masking', 'from .registry import MODELS', 'masking must not know registry'),
    ('egmim_mm.masking', 'def f():\n    from . import registry', 'masking must not know registry'),
    ('egmim_mm.datasets.label_budget', 'from .samplers import LabelBudgetSampler',
     'datasets.label_budget must not know datasets'),
    ('egmim_mm.models.heads.pixel', 'from ...engine.hooks import Hook', 'models must not know engine'),
    ('egmim_mm.models.heads.pixel', 'from egmim_mm import datasets', 'models must not know datasets'),
    ('egmim_mm.datasets.imagery', 'from ..models import EGMIM', 'datasets must not know models'),
    ('egmim_mm.datasets.imagery', 'import egmim_mm.study.grid', 'datasets must not know study'),
    ('egmim_mm.evaluation.boundary', 'from egmim_mm.analysis import probe', 'must not know analysis'),
    ('egmim_mm.engine.launch', 'from egmim_mm.analysis import probe', 'must not know analysis'),
    ('egmim_mm.storage.rasters', 'from egmim_mm.datasets import transforms', 'must not know datasets'),
    ('egmim_mm.records.tables', 'from egmim_mm.checkpoints import describe_source', 'must not know checkpoints'),
    ('egmim_mm.engine.launch', 'from tools.train import main', 'without the repository'),
    ('egmim_mm.helpers', 'import os', 'has no place'),
])
def test_the_checker_catches(module, source, says):
    found = violations(source, module)
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(('module', 'source'), [
    ('egmim_mm.edges', 'import torch\nfrom kornia.filters import sobel'),
    ('egmim_mm.masking', 'from .edges import edge_prior'),
    ('egmim_mm.models.selfsup.egmim', 'from ...masking import sample_mask\nfrom ...registry import MODELS'),
    ('egmim_mm.models.selfsup.egmim', 'from mmengine.model import BaseModel'),
    ('egmim_mm.models.selfsup.egmim', 'from ..heads import EdgeStructureHead'),
    ('egmim_mm.datasets.samplers', 'from .label_budget import select_tiles'),
    ('egmim_mm.models.x', 'from egmim_mm.datasets import label_budget'),
    ('egmim_mm.engine.hooks.curriculum', 'from egmim_mm import __version__, models'),
    ('egmim_mm.analysis.probe', 'from egmim_mm.inference import Segmenter'),
    ('egmim_mm.engine.hooks.reconstruction', 'from egmim_mm.pictures.sheets import draw_sheet'),
    ('egmim_mm.analysis.probe', 'from egmim_mm.engine.launch import load_config'),
    ('egmim_mm.study.grid', 'from egmim_mm import analysis, engine'),
])
def test_the_checker_allows(module, source):
    assert violations(source, module) == []


def test_relative_imports_of_a_package_file_resolve_from_the_package_itself():
    assert list(imported_modules('from .x import y', 'egmim_mm.models', is_package=True)) == ['egmim_mm.models.x']
    assert list(imported_modules('from .x import y', 'egmim_mm.models')) == ['egmim_mm.x']
