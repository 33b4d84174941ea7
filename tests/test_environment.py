"""Environment checks on made-up sets of distributions; imports and noise in a fresh interpreter."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egmim_mm import environment
from egmim_mm.environment import EnvironmentProblem, check_environment, find_problems

ROOT = Path(__file__).resolve().parents[1]
GOOD = {
    'torch': '2.11.0+cpu',
    'torchvision': '0.26.0+cpu',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}


def without(*names):
    return {name: version for name, version in GOOD.items() if name not in names}


def run_python(code):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': path})
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_matching_environment_has_no_problems():
    assert find_problems(GOOD, ['numpy', 'torch (==2.11.0)', 'pillow (!=8.3.*,>=5.3.0)']) == []


def test_unknown_distributions_are_ignored():
    assert find_problems({**GOOD, 'mmdet': '3.3.0'}) == []


def test_original_beside_maintained_is_uninstalled_and_the_maintained_one_restored():
    problem, = find_problems({**GOOD, 'mmcv-lite': '2.1.0', 'mmengine': '0.10.7'})
    assert 'mmcv-lite 2.1.0, mmengine 0.10.7' in problem
    assert 'pip uninstall -y mmcv-lite mmengine\n' in problem
    assert problem.endswith('pip install --force-reinstall --no-deps onedl-mmcv onedl-mmengine')


def test_original_instead_of_maintained_names_each_package_once():
    problem, = find_problems({**without('onedl-mmsegmentation'), 'mmsegmentation': '1.2.2'})
    assert 'pip uninstall -y mmsegmentation\n' in problem
    assert problem.endswith('pip install onedl-mmsegmentation')
    assert '--force-reinstall' not in problem


def test_mixed_case_restores_the_damaged_and_installs_the_absent():
    problem, = find_problems({**without('onedl-mmpretrain'), 'mmpretrain': '1.2.0', 'mmcv': '2.1.0'})
    assert '  pip install --force-reinstall --no-deps onedl-mmcv\n' in problem
    assert problem.endswith('  pip install onedl-mmpretrain')


@pytest.mark.parametrize(('absent', 'command'), [
    (('onedl-mmcv', 'onedl-mmpretrain'), 'pip install onedl-mmcv onedl-mmpretrain'),
    (('torchvision',), 'pip install torch==2.11.0+cpu torchvision'),
    (('torch', 'torchvision', 'onedl-mmcv'), 'pip install torch torchvision onedl-mmcv'),
])
def test_missing_distributions_are_named_with_the_command(absent, command):
    problem, = find_problems(without(*absent))
    assert problem == f'Not installed: {", ".join(absent)}. Run:\n  {command}'


def test_mismatched_pair_is_named_with_both_ways_out():
    problem, = find_problems({**GOOD, 'torch': '2.15.0+cu130'}, ['torch (==2.11.0)'])
    assert 'torch 2.15.0+cu130 and torchvision 0.26.0+cpu' in problem
    assert '  pip install torch==2.15.0 torchvision\n' in problem
    assert problem.endswith('  pip install torch==2.11.0 torchvision==0.26.0')


@pytest.mark.parametrize('needs', [
    ['torch==2.11.0'],
    ['torch==2.11.0+cpu'],
    ['torch (==2.11.0) ; python_version >= "3.10"'],
    ['torch'],
    ['torch>=2'],
    ['torchdata==0.1'],
    [],
])
def test_pins_that_fit_or_are_none(needs):
    assert find_problems(GOOD, needs) == []


def test_a_pin_on_another_build_of_the_same_release_is_a_mismatch():
    assert len(find_problems(GOOD, ['torch==2.11.0+cu130'])) == 1


def test_all_problems_are_reported_at_once(monkeypatch):
    found = {**without('onedl-mmpretrain'), 'mmcv': '2.1.0', 'torch': '2.6.0'}
    monkeypatch.setattr(environment, '_installed_versions', lambda names: found)
    monkeypatch.setattr(environment.metadata, 'requires', lambda name: ['torch==2.11.0'])
    with pytest.raises(EnvironmentProblem) as error:
        check_environment()
    paragraphs = str(error.value).split('\n\n')
    assert [text.split()[0] for text in paragraphs] == ['egmim_mm', 'Original', 'Not', 'torch']
    assert isinstance(error.value, ImportError)


def test_metadata_of_distributions_on_the_path_is_read(monkeypatch, tmp_path):
    info = tmp_path / 'mmcv_lite-2.1.0.dist-info'
    info.mkdir()
    info.joinpath('METADATA').write_text('Metadata-Version: 2.1\nName: mmcv-lite\nVersion: 2.1.0\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EnvironmentProblem, match='mmcv-lite 2.1.0'):
        check_environment()


def test_importing_the_package_imports_neither_torch_nor_openmmlab():
    output = run_python('import sys, egmim_mm; print(egmim_mm.__version__);'
                        'print(sorted({"torch", "mmengine", "mmcv", "mmseg", "mmpretrain"} & set(sys.modules)))')
    assert output.splitlines()[1] == '[]'
    assert output.splitlines()[0].count('.') == 2


def test_stack_imports_silently_after_quiet_imports():
    assert run_python('from egmim_mm.environment import quiet_imports\nquiet_imports()\nquiet_imports()\n'
                      'import mmseg.datasets, mmseg.models, mmpretrain.datasets, mmpretrain.models') == ''


def test_quiet_imports_drops_known_messages_only():
    output = run_python('import warnings\nfrom egmim_mm.environment import quiet_imports\nquiet_imports()\n'
                        'from mmengine.logging import print_log\n'
                        'print_log("Could not import OneDL")\nprint_log("Could not import cv2")\n'
                        'warnings.warn("Fail to import ``MultiScaleDeformableAttention`` from x")\n'
                        'warnings.warn("learning rate is zero")\n')
    assert 'OneDL' not in output and 'MultiScale' not in output
    assert 'Could not import cv2' in output and 'learning rate is zero' in output
