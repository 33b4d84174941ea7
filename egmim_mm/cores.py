"""How many CPU cores a process may use. Pure functions."""
import os

import joblib

__all__ = ['cores_per_process']

# What torchrun and Open MPI tell each process about the number of processes on its machine
_LOCAL_PROCESSES = ('LOCAL_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_SIZE')


def cores_per_process() -> int:
    """Cores that this process may use: its share of those that affinity and container leave it, at least 1.

    torchrun and Open MPI start several processes on the cores of one machine, and each gets an equal share. Slurm says
    how many cores a task has.
    """
    cores = joblib.cpu_count()
    if 'SLURM_CPUS_PER_TASK' in os.environ:
        cores = min(cores, int(os.environ['SLURM_CPUS_PER_TASK']))
    processes = next((int(os.environ[name]) for name in _LOCAL_PROCESSES if name in os.environ), 1)
    return max(1, cores // processes)
