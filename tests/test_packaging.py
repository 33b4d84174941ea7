"""The wheel holds the package, its configs and tools, and nothing else, and works by itself; building it leaves no
litter. The source distribution holds what git tracks."""
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import egmim_mm

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('egmim_mm', 'configs', 'tools', 'tests')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE')
NOT_DISTRIBUTED = {'.gitignore', '.ci/run'}  # of git and of continuous integration
# Of setuptools itself, ignored by git.
BUILD_LITTER = ('build', 'egmim_mm.egg-info')


def listing(folder):
    """Names of all files and links below a folder, except what setuptools always leaves."""
    paths = (path.relative_to(folder) for path in folder.rglob('*') if path.is_symlink() or path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] not in BUILD_LITTER}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A wheel built from a copy of the sources, with listings of the copy before and after."""
    source = tmp_path_factory.mktemp('source')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in filter(lambda name: (ROOT / name).exists(), FILES):
        shutil.copy(ROOT / name, source / name)
    # What an earlier build has left must not be packed.
    stale = source / 'build/lib/egmim_mm/.mim/configs'
    stale.mkdir(parents=True)
    (stale / 'deleted_long_ago.py').touch()

    before = listing(source)
    target = tmp_path_factory.mktemp('wheel')
    done = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet',
                           '--disable-pip-version-check', '-w', str(target), str(source)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, = target.glob('*.whl')
    return zipfile.ZipFile(wheel), before, listing(source)


def test_wheel_holds_every_module_config_and_tool(built):
    wheel, files, _ = built
    names = set(wheel.namelist())
    assert {name for name in files if name.startswith('egmim_mm/') and name.endswith('.py')} <= names
    shipped = {name.removeprefix('egmim_mm/.mim/') for name in names if name.startswith('egmim_mm/.mim/')}
    assert shipped == {name for name in files if name.split('/')[0] in ('configs', 'tools')}


def test_wheel_holds_no_tests_and_no_bytecode(built):
    names = built[0].namelist()
    assert {name.split('/')[0] for name in names} == {'egmim_mm', f'egmim_mm-{egmim_mm.__version__}.dist-info'}
    assert not [name for name in names if name.endswith('.pyc') or '/test_' in name]


def test_metadata_names_the_version_the_pythons_and_the_stack(built):
    metadata = built[0].read(f'egmim_mm-{egmim_mm.__version__}.dist-info/METADATA').decode()
    assert f'\nVersion: {egmim_mm.__version__}\n' in metadata
    pythons = SpecifierSet(re.search(r'^Requires-Python: (.+)$', metadata, re.MULTILINE).group(1))
    assert [minor for minor in range(20) if f'3.{minor}' in pythons] == [10, 11, 12]
    needs = re.findall(r'^Requires-Dist: ([\w-]+)[^;\n]*$', metadata, re.MULTILINE)
    assert set(egmim_mm.environment.REQUIRED) <= set(needs)
    assert 'pytest' not in needs


def test_launch_scripts_stay_executable(built):
    modes = {info.filename: info.external_attr >> 16 for info in built[0].infolist()}
    for name in ('dist_train.sh', 'dist_test.sh', 'slurm_train.sh'):
        assert modes[f'egmim_mm/.mim/tools/{name}'] & 0o111


def test_building_leaves_neither_copies_nor_links_in_the_tree(built):
    _, before, after = built
    assert after == before
    assert {'setup.py', 'egmim_mm/version.py', 'tools/dist_train.sh'} <= after


def test_quickstart_runs_from_the_installed_wheel(built, tmp_path):
    site, folder = tmp_path / 'site', tmp_path / 'elsewhere'
    folder.mkdir()
    installed = subprocess.run([sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '--quiet',
                                '--disable-pip-version-check', '--target', str(site), built[0].filename],
                               capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    tool = site / 'egmim_mm/.mim/tools/quickstart.py'
    environment = dict(os.environ, PYTHONPATH=str(site), OMP_NUM_THREADS='1')
    run = subprocess.run([sys.executable, str(tool), '--toy'], cwd=folder, env=environment, capture_output=True,
                         text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    work_dir = folder / 'work_dirs/quickstart_toy'
    assert (work_dir / 'sheet.png').is_file()
    results = json.loads((work_dir / 'seed_0/egmim/results.json').read_text())
    assert results['phase'] == 'test' and results['git'] is None  # the code that ran is not that of this clone
    assert str(ROOT) not in run.stdout


def test_source_distribution_holds_what_git_tracks(tmp_path):
    tracked = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
                             capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip('not a clone')
    names = {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    for name in names:
        (tmp_path / 'source' / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / 'source' / name)
    built = subprocess.run([sys.executable, 'setup.py', '-q', 'sdist', '--dist-dir', str(tmp_path)],
                           cwd=tmp_path / 'source', capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    archive, = tmp_path.glob('*.tar.gz')
    with tarfile.open(archive) as tar:
        files = {member.name.partition('/')[2] for member in tar.getmembers() if member.isfile()}
    written = {name for name in files if name in ('PKG-INFO', 'setup.cfg') or name.startswith('egmim_mm.egg-info/')}
    assert files - written == names - NOT_DISTRIBUTED


def test_citation_names_the_version_and_the_paper():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert (citation['cff-version'], citation['type']) == ('1.2.0', 'software')
    assert str(citation['version']) == egmim_mm.__version__ and citation['license'] == 'Apache-2.0'
    (paper, ) = citation['references']
    assert (paper['journal'], paper['year'], paper['volume'], paper['issue'], paper['start']) == (
        'Sensors', 2026, 26, '4', '1385')


def test_constraints_fit_the_bounds_and_name_every_direct_dependency():
    lines = (ROOT / 'requirements/constraints.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith('#')]
    setup = (ROOT / 'setup.py').read_text()
    bounds = [Requirement(text) for text in re.findall(r"^    '([a-z].*[<>=].*)',$", setup, re.MULTILINE)]
    assert len(bounds) > 15
    for bound in bounds:
        versions = [next(iter(pin.specifier)).version for pin in pins if pin.name == bound.name]
        assert versions, f'{bound.name} has no tested version'
        assert all(version in bound.specifier for version in versions), (str(bound), versions)
