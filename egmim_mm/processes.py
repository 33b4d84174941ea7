"""The place of this process in its run, known before any process group is."""
import os

__all__ = ['rank_and_size']

_RANK_AND_SIZE = dict(pytorch=('RANK', 'WORLD_SIZE'), slurm=('SLURM_PROCID', 'SLURM_NTASKS'),
                      mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'))


def rank_and_size(launcher: str) -> tuple[int, int]:
    """Number of this process and number of all, as the launcher (MMEngine's names) put them into the environment."""
    if launcher == 'none':
        return 0, 1
    rank, size = _RANK_AND_SIZE[launcher]
    return int(os.environ.get(rank, 0)), int(os.environ.get(size, 1))
