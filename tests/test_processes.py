"""The place of a process in its run, as each launcher puts it into the environment."""
import pytest

from egmim_mm.processes import rank_and_size

VARIABLES = ('RANK', 'WORLD_SIZE', 'SLURM_PROCID', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE')


@pytest.mark.parametrize('launcher, expected', [('none', (0, 1)), ('pytorch', (1, 2)), ('slurm', (3, 4)),
                                                ('mpi', (5, 6))])
def test_each_launcher_reads_its_own_variables(monkeypatch, launcher, expected):
    for name, value in zip(VARIABLES, '123456'):
        monkeypatch.setenv(name, value)
    assert rank_and_size(launcher) == expected


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_without_them_the_process_is_alone(monkeypatch, launcher):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert rank_and_size(launcher) == (0, 1)
