"""Installation of egmim_mm. Why each dependency is there: docs/dependencies.md."""
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'egmim_mm'
# What `mim` looks for in `<package>/.mim`: ready-made configs and the scripts that run them.
MIM_FOLDERS = ('configs', 'tools')

# A lower bound is the oldest release that has what the code uses, an upper bound the next release
# line that is known or promised to break it. requirements/constraints.txt has the tested versions.
INSTALL_REQUIRES = [
    # 2.6: the first whose weights-only loading is safe on hostile files (CVE-2025-32434). Tested to 2.15.
    'torch>=2.6',
    # 0.21 belongs to torch 2.6. Each release pins its torch exactly, so pip keeps the pair in step.
    'torchvision>=0.21',
    # Its loops, resume and hooks are extended here: 0.10.12 is what is tested, the next minor is not.
    'onedl-mmengine>=0.10.12,<0.11',
    # mmpretrain refuses mmcv 2.4 when it is imported.
    'onedl-mmcv>=2.3.6,<2.4',
    # UperNet, slide inference and the data pipeline: the next minor is untested.
    'onedl-mmsegmentation>=1.4.2,<1.5',
    # Swin and SimMIM are subclassed: the next minor is untested.
    'onedl-mmpretrain>=1.3.6,<1.4',
    # mmsegmentation needs more than 2.0.0.
    'numpy>=2.0.1,<3',
    # 1.13: the first built for NumPy 2.
    'scipy>=1.13',
    # 1.5: the first built for NumPy 2.
    'scikit-learn>=1.5',
    # Hand-made pixel features of the forest baseline. 0.24: the first built for NumPy 2.
    'scikit-image>=0.24',
    # Processes that count the classes of masks; scikit-learn needs it. 1.3: the first that gives results in order.
    'joblib>=1.3',
    # Of several processes one counts the classes of masks; torch needs it too.
    'filelock>=3.12',
    # 0.8.2 is the oldest tested, and the last for Python 3.10.
    'kornia>=0.8.2',
    # 4.10: the first built for NumPy 2. mmcv imports it under this name, not as the headless build.
    'opencv-python>=4.10',
    # 10.3: fixes a buffer overflow with crafted images (CVE-2024-28219); imagery comes from anywhere.
    'pillow>=10.3',
    # 1.4: the first line built for NumPy 2. Its wheels bring GDAL along.
    'rasterio>=1.4',
    # 0.10: built for NumPy 2, like rasterio's wheels with a GDAL of its own.
    'pyogrio>=0.10',
    # 2.0.6: built for NumPy 2.
    'shapely>=2.0.6',
    # 3.9: the first built for NumPy 2.
    'matplotlib>=3.9',
    # Weights as tensors and text, nothing to unpickle. 0.4.3: the first built for NumPy 2.
    'safetensors>=0.4.3',
    # Names of tar shards, as in corpus-{000000..000127}.tar. 0.1.7: the last release.
    'braceexpand>=0.1.7',
    # Tables and progress bars, of which only long-stable calls are used.
    'rich>=13',
]

# Export to ONNX, and maps from ONNX files.
ONNX_REQUIRES = [
    # 1.17: the first built for NumPy 2 that onnxscript accepts.
    'onnx>=1.17',
    # 1.20: runs opsets to 21. 1.32 is tested, and 1.23 is the last for Python 3.10.
    'onnxruntime>=1.20',
    # PyTorch's exporter is written with it. 0.7 is tested.
    'onnxscript>=0.5',
]

DEV_REQUIRES = [
    *ONNX_REQUIRES,
    # Fixtures and configuration in pyproject.toml; 9 is tested.
    'pytest>=8',
    # Two workers halve the time of the test suite on two cores.
    'pytest-xdist>=3.6',
    # Property tests of sampling and masking.
    'hypothesis>=6.100',
    # The rules of a linter change between releases; constraints.txt pins the one in use.
    'ruff>=0.9',
    # Independent implementations that tests compare with: Swin weights and features; metrics.
    'timm>=1.0',
    'torchmetrics>=1.4',
    # Writes the tar shards that tests read, and reads them for comparison. 1.0 is tested.
    'webdataset>=1.0',
    # Validates cloud-optimised GeoTIFFs; 6 is the last for Python 3.10.
    'rio-cogeo>=6',
    # A test builds the wheel without isolation. 70.1: builds without the wheel package.
    # 82 has dropped pkg_resources, which torch up to 2.11 still asks for.
    'setuptools>=70.1,<82',
]


class BuildWithMim(build_py):
    """Adds configs and tools to the built package; the source tree gets neither copies nor links."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the package is used where it lies, next to configs and tools
            return
        target = Path(self.build_lib, PACKAGE, '.mim')
        shutil.rmtree(target, ignore_errors=True)  # from an earlier build: may hold deleted files
        for folder in MIM_FOLDERS:
            shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))


def read_version() -> str:
    scope = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_description() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


setup(
    name=PACKAGE,
    version=read_version(),
    description='Edge-guided masked image modelling for aerial imagery, on the OpenMMLab stack',
    long_description=read_description(),
    long_description_content_type='text/markdown',
    author='The egmim_mm contributors',
    license='Apache-2.0',
    keywords='computer vision, self-supervised learning, masked image modelling, remote sensing, segmentation',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    # 3.10: the oldest of the OpenMMLab distributions. 3.13: untested.
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    install_requires=INSTALL_REQUIRES,
    extras_require={
        'onnx': ONNX_REQUIRES,
        'dev': DEV_REQUIRES,
        'all': DEV_REQUIRES
    },
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
