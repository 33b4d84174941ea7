"""Mask policies: edge strength -> token mask with an exact count.

Pure functions on tensors. Every policy hides exactly :func:`masked_token_count` tokens in every sample,
whatever the image holds. Randomness comes from an explicit ``torch.Generator``.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

POLICIES = ('random', 'edge_adaptive')

_QUANTUM = 32  # px; the stride of Swin's last stage and SimMIM's cell: every policy counts in these units


def masked_token_count(height: int, width: int, ratio: float, token_size: int = 4, cell_size: int = 32) -> int:
    """Number of tokens hidden in one sample: ``ratio`` rounded to whole cells of at least 32 px.

    Counting in the same cells whatever the granularity gives all policies the same count at one image size.
    """
    unit = max(cell_size, _QUANTUM)
    cells = (height // unit) * (width // unit)
    return round(ratio * cells) * (unit // token_size)**2


@torch.no_grad()
def sample_mask(edge: Tensor,
                ratio: float = 0.6,
                policy: str = 'edge_adaptive',
                token_size: int = 4,
                cell_size: int = 32,
                fine_cell_size: int = 16,
                progress: float = 1.0,
                generator: torch.Generator | None = None,
                shard: tuple[int, int] = (0, 1),
                beta: float = 0.25,
                top_share: float = 0.4,
                max_rate: float = 0.9) -> Tensor:
    """Draw one token mask per sample.

    * ``random``: cells of ``cell_size`` px are hidden uniformly at random (SimMIM, Xie et al., CVPR 2022).
    * ``edge_adaptive``: the half of the cells with the highest mean edge strength is hidden in sub-cells of
      ``fine_cell_size`` px, the flat half in whole cells. Among the sub-cells the ``top_share`` strongest
      are hidden at rate ``min(max_rate, ratio (1 + beta progress))``, the others at the rate that keeps the
      count exact.

    Args:
        edge (Tensor): (B, 1, H, W) edge strength in [0, 1]; H and W divisible by 32 and by ``cell_size``.
            ``random`` reads only its shape and device.
        ratio (float): Share of hidden tokens, in (0, 1).
        policy (str): One of ``POLICIES``.
        token_size (int): Side of a token, px.
        cell_size, fine_cell_size (int): Sides of the cells that are hidden as a whole, px.
        progress (float): Share of the training that is done, in [0, 1]; scales ``beta``.
        generator (torch.Generator, optional): Source of randomness, on the device of ``edge``.
        shard (tuple[int, int]): (rank, world size). The draw is made for the global batch, of which this
            process takes every world-size-th sample, so the masks do not depend on how a batch is shared out.
        beta, top_share, max_rate (float): See ``edge_adaptive``.

    Returns:
        Tensor: (B, H / token_size, W / token_size) bool, True = hidden.

    Raises:
        ValueError: Unknown policy, ratio outside (0, 1), or sizes that do not divide.
    """
    batch, _, height, width = edge.shape
    _check(height, width, ratio, policy, token_size, cell_size, fine_cell_size)
    hidden = masked_token_count(height, width, ratio, token_size, cell_size)
    if not 0 < hidden < (height // token_size) * (width // token_size):
        raise ValueError(f'mask ratio {ratio} rounds to all or none of the cells of a {height} x {width} px image: '
                         'use larger images or another ratio')

    unit = cell_size if policy == 'random' else fine_cell_size
    rows, cols = height // unit, width // unit
    rank, world = shard
    # float64: ties between two draws would break the seed's independence of the device's sort order
    noise = torch.rand(batch * world, rows * cols, generator=generator, device=edge.device, dtype=torch.float64)
    noise = noise[rank::world]
    count = hidden // (unit // token_size)**2
    if policy == 'random':
        mask = _choose(noise, torch.ones_like(noise, dtype=torch.bool), count)
    else:
        rate = min(max_rate, ratio * (1 + beta * progress))
        mask = _edge_adaptive(edge, noise, count, ratio, rate, top_share, cell_size, fine_cell_size)
    mask = mask.view(batch, rows, cols)
    scale = unit // token_size
    return mask.repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def _edge_adaptive(edge: Tensor, noise: Tensor, count: int, ratio: float, rate: float, top_share: float,
                   cell_size: int, fine_cell_size: int) -> Tensor:
    """Hide ``count`` fine cells per sample, see :func:`sample_mask`; (B, fine cells) bool."""
    batch = edge.shape[0]
    coarse = F.avg_pool2d(edge, cell_size)  # (B, 1, H / cell, W / cell)
    fine = F.avg_pool2d(edge, fine_cell_size).flatten(1).double()  # (B, fine cells)
    factor = cell_size // fine_cell_size
    num_cells = coarse[0].numel()
    num_edge_cells = num_cells // 2

    # one draw serves two levels: a coarse cell takes the noise of its top left fine cell. Ties are broken by lower
    # bits of the draw, which are independent: otherwise a flat image would hide top left fine cells more often
    grid = (batch, coarse.shape[2] * factor, coarse.shape[3] * factor)
    coarse_noise = noise.view(grid)[:, ::factor, ::factor].flatten(1)
    coarse_ties = 1e-9 * (coarse_noise * 2**16 % 1)
    fine_ties = 1e-9 * (noise * 2**32 % 1)

    def spread(cells: Tensor) -> Tensor:  # (B, coarse cells) -> (B, fine cells)
        cells = cells.view(batch, *coarse.shape[2:])
        return cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2).flatten(1)

    # a flat image gets a random half
    is_edge_cell = _choose(-coarse.flatten(1).double() + coarse_ties,
                           torch.ones_like(coarse_noise, dtype=torch.bool), num_edge_cells)
    in_edge = spread(is_edge_cell)
    num_fine = num_edge_cells * factor**2

    flat_hidden = round(ratio * (num_cells - num_edge_cells))
    # the fine cells must be able to make up the rest
    flat_hidden = min(max(flat_hidden, -(-(count - num_fine) // factor**2)), count // factor**2)
    fine_hidden = count - flat_hidden * factor**2

    num_top = round(top_share * num_fine)
    is_top = _choose(-fine + fine_ties, in_edge, num_top)
    top_hidden = min(max(round(rate * num_top), fine_hidden - (num_fine - num_top)), fine_hidden)

    mask = _choose(noise, is_top, top_hidden)
    mask |= _choose(noise, in_edge & ~is_top, fine_hidden - top_hidden)
    mask |= spread(_choose(coarse_noise, ~is_edge_cell, flat_hidden))
    return mask


def _choose(key: Tensor, member: Tensor, count: int) -> Tensor:
    """The ``count`` members with the smallest key in every row; (B, N) bool."""
    order = key.masked_fill(~member, float('inf')).argsort(dim=1, stable=True)
    chosen = torch.zeros_like(member)
    return chosen.scatter_(1, order[:, :count], True)


def _check(height: int, width: int, ratio: float, policy: str, token_size: int, cell_size: int,
           fine_cell_size: int) -> None:
    if policy not in POLICIES:
        raise ValueError(f'unknown mask policy {policy!r}; choose one of {", ".join(POLICIES)}')
    if not 0 < ratio < 1:
        raise ValueError(f'mask ratio must lie in (0, 1), got {ratio}')
    if height % _QUANTUM or width % _QUANTUM or height % cell_size or width % cell_size:
        raise ValueError(f'image size {height} x {width} px must be divisible by {_QUANTUM} and by '
                         f'cell_size = {cell_size}')
    if cell_size < _QUANTUM and _QUANTUM % cell_size:
        raise ValueError(f'cell_size = {cell_size} must divide {_QUANTUM} px or be larger: otherwise the count of '
                         'hidden tokens cannot be that of the other policies')
    if cell_size % fine_cell_size or fine_cell_size % token_size or _QUANTUM % fine_cell_size:
        if policy != 'random':
            raise ValueError(f'cell_size = {cell_size} must be a multiple of fine_cell_size = {fine_cell_size}, '
                             f'and that of token_size = {token_size} px')
    if cell_size % token_size:
        raise ValueError(f'cell_size = {cell_size} must be a multiple of token_size = {token_size} px')
