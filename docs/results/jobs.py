"""Runs of the package's tools for the scripts beside this file: one thread each, finished ones are skipped."""
import os
import subprocess
import sys
from pathlib import Path

from egmim_mm.evaluation.results_document import is_trained

ROOT = Path(__file__).resolve().parents[2]


def python(logs: Path, *arguments: object) -> None:
    """Run ``python arguments`` in the repository root with its output in a log file below ``logs``."""
    command = [sys.executable, *map(str, arguments)]
    print('$ ' + ' '.join(command[1:]), flush=True)
    log = logs / ('-'.join(str(a).replace('/', '_') for a in arguments[-3:])[-80:] + '.log')
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT,
                       env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT)), cwd=ROOT)


def train(config: str, folder: Path, backbone: object = None, *options: str) -> None:
    """``tools/train.py CONFIG`` into ``folder``: skipped when finished, resumed when interrupted."""
    if is_trained(folder / 'results.json'):
        return
    start = (['--resume'] if (folder / 'last_checkpoint').is_file() else
             ['--backbone', backbone] if backbone else [])
    python(folder.parent, 'tools/train.py', config, *start, *options, '--work-dir', folder)
