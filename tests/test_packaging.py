"""The wheel holds the package, its configs and tools, and nothing else; building it leaves no litter."""
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import egmim_mm

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ('egmim_mm', 'configs', 'tools', 'tests')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE')
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
