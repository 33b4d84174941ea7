"""Mask policies: edge strength -> which tokens are hidden, an exact count. Pure functions on tensors."""
from .sampling import POLICIES, counting_unit, default_cell_size, default_ratio, masked_token_count, sample_mask
from .schedule import EMPHASES, check_schedule, scheduled
from .uniform import UNIFORM_POLICIES

__all__ = [
    'EMPHASES', 'POLICIES', 'UNIFORM_POLICIES', 'check_schedule', 'counting_unit', 'default_cell_size',
    'default_ratio', 'masked_token_count', 'sample_mask', 'scheduled'
]
