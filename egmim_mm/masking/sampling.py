"""Mask policies: edge strength -> token mask with an exact count.

Pure functions on tensors. At one image size every policy hides exactly :func:`masked_token_count` tokens in every
sample, whatever the image holds; the uniform ones exactly three quarters. Randomness comes from an explicit
``torch.Generator``.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from .uniform import UNIFORM_POLICIES, UNIFORM_RATIO, check_uniform, uniform_mask

POLICIES = ('random', 'edge_adaptive', 'random_adaptive', 'edge_stratified', 'edge_topk', 'edge_inverse',
            *UNIFORM_POLICIES)

_ADAPTIVE = ('edge_adaptive', 'random_adaptive')  # two granularities
_QUANTUM = 32  # px; the stride of Swin's last stage and SimMIM's cell: every policy counts in these units


def counting_unit(height: int, width: int, cell_size: int = 32) -> int:
    """Side of the squares in which hidden area is counted, px.

    It is 32 px for cells of 8, 16 and 32 px, so that policies of any granularity hide equal counts; ``cell_size``
    where the cells are larger or the image does not divide by 32.
    """
    return _QUANTUM if cell_size < _QUANTUM and height % _QUANTUM == width % _QUANTUM == 0 else cell_size


def masked_token_count(height: int, width: int, ratio: float, token_size: int = 4, cell_size: int = 32) -> int:
    """Number of tokens hidden in one sample that holds data everywhere: ``ratio`` rounded to whole counting units."""
    unit = counting_unit(height, width, cell_size)
    return round(ratio * (height // unit) * (width // unit)) * (unit // token_size)**2


def default_cell_size(policy: str) -> int:
    """Side of the cells of a policy, px: 16 where edges choose among cells of one size, 32 elsewhere as in SimMIM."""
    return 16 if policy in ('edge_stratified', 'edge_topk', 'edge_inverse', *UNIFORM_POLICIES) else 32


def default_ratio(policy: str) -> float:
    """Share of hidden tokens of a policy: 0.6 as in SimMIM, or what its blocks make it."""
    return UNIFORM_RATIO if policy in UNIFORM_POLICIES else 0.6


@torch.no_grad()
def sample_mask(edge: Tensor,
                ratio: float | None = None,
                policy: str = 'edge_stratified',
                token_size: int = 4,
                cell_size: int | None = None,
                fine_cell_size: int = 16,
                progress: float = 1.0,
                generator: torch.Generator | None = None,
                shard: tuple[int, int] = (0, 1),
                part: tuple[int, int] = (0, 1),
                valid: Tensor | None = None,
                beta: float = 0.25,
                top_share: float = 0.4,
                max_rate: float = 0.9,
                temperature: float = 0.25,
                keep: str = 'weak') -> Tensor:
    """Draw one token mask per sample.

    * ``random``: cells of ``cell_size`` px are hidden uniformly at random (SimMIM, Xie et al., CVPR 2022).
    * ``edge_adaptive``: the half of the cells with the highest mean edge strength is hidden in sub-cells of
      ``fine_cell_size`` px, the flat half in whole cells. Among the sub-cells the ``top_share`` strongest
      are hidden at rate ``min(max_rate, ratio (1 + beta progress))``, the others at the rate that keeps the
      count exact.
    * ``random_adaptive``: as ``edge_adaptive``, but blind to edges: the half hidden in sub-cells is random. The
      control that separates granularity from guidance.
    * ``edge_stratified``: cells of ``cell_size`` px; the ``top_share`` strongest are hidden at the rate above, the
      others at the rate that keeps the count exact.
    * ``edge_topk``, ``edge_inverse``: the cells with the strongest, or weakest, edges are hidden (AttMask's
      "high" and "low", Kakogeorgiou et al., ECCV 2022, with edges for attention). Negative controls: nothing is
      drawn but ties.
    * ``random_uniform``, ``edge_uniform``: one cell of every 2 x 2 block is kept, at random or by edges, see
      :func:`egmim_mm.masking.uniform.uniform_mask`. Their ratio is 0.75.

    Args:
        edge: (B, 1, H, W) edge strength in [0, 1]; H and W divisible by ``cell_size``.
            The random policies read only its shape and device.
        ratio: Share of hidden tokens, in (0, 1). Without it :func:`default_ratio`.
        policy: One of ``POLICIES``.
        token_size: Side of a token, px.
        cell_size, fine_cell_size: Sides of the cells that are hidden as a whole, px. Without ``cell_size``
            :func:`default_cell_size`.
        progress: Share of the training that is done, in [0, 1]; scales ``beta``, and the emphasis of
            ``edge_uniform``.
        generator: Source of randomness, on the device of ``edge``.
        shard: (rank, world size). The draw is made for the global batch, of which this
            process takes every world-size-th sample, so the masks do not depend on how a batch is shared out.
        part: (number, count). These are the samples of one of several equal parts, in order, of what this process
            takes: the draw is made for all of them.
        valid: (B, 1, H, W) bool, True = the pixel holds data. Only squares of
            :func:`counting_unit` px that hold data everywhere are hidden and counted: such a sample hides
            ``ratio`` of *its* squares, a sample without any hides nothing. The uniform policies count in blocks.
        beta, top_share, max_rate: See ``edge_adaptive``.
        temperature, keep: Of ``edge_uniform``: how sharply edges decide which cell is kept, and whether it is
            rather one with 'weak' or with 'strong' edges.

    Returns:
        (B, H / token_size, W / token_size) bool, True = hidden.

    Raises:
        ValueError: Unknown policy, ratio outside (0, 1), or sizes that do not divide.
    """
    batch, _, height, width = edge.shape
    cell_size = cell_size or default_cell_size(policy)
    ratio = default_ratio(policy) if ratio is None else ratio
    _check(height, width, ratio, policy, token_size, cell_size, fine_cell_size)
    uniform = policy in UNIFORM_POLICIES
    if uniform:
        check_uniform(height, width, policy, ratio, cell_size, temperature, keep)
    unit = 2 * cell_size if uniform else counting_unit(height, width, cell_size)
    squares = (height // unit, width // unit)
    if not uniform and not 0 < round(ratio * squares[0] * squares[1]) < squares[0] * squares[1]:
        raise ValueError(f'mask ratio {ratio} rounds to all or none of the cells of a {height} x {width} px image: '
                         'use larger images or another ratio')
    if valid is None:
        usable = torch.ones(batch, *squares, dtype=torch.bool, device=edge.device)
    elif valid.shape != edge.shape or valid.dtype != torch.bool:
        raise ValueError(f'valid must be bool of shape {tuple(edge.shape)}, got {valid.dtype} {tuple(valid.shape)}')
    else:
        usable = ~F.max_pool2d((~valid).to(edge.dtype), unit)[:, 0].bool()
    hidden_squares = (ratio * usable.flatten(1).sum(1).double()).round().long()  # (B,)

    step = fine_cell_size if policy in _ADAPTIVE else cell_size
    (rank, world), (number, parts) = shard, part
    # float64: ties between two draws would break the seed's independence of the device's sort order
    noise = torch.rand(batch * parts * world, height // step * (width // step), generator=generator,
                       device=edge.device, dtype=torch.float64)[rank::world][number * batch:(number + 1) * batch]
    if uniform:
        score = F.avg_pool2d(edge, step)[:, 0].double()
        mask = uniform_mask(score, noise, usable, progress if policy == 'edge_uniform' else 0.0, temperature, keep)
        return _spread(mask, step // token_size)
    member = _spread(usable, unit // step).flatten(1)
    count = hidden_squares * (unit // step)**2
    rate = min(max_rate, ratio * (1 + beta * progress))
    if policy == 'random':
        mask = _choose(noise, member, count)
    elif policy in _ADAPTIVE:
        guide = torch.zeros_like(edge) if policy == 'random_adaptive' else edge
        mask = _adaptive(guide, noise, usable, count, ratio, rate, top_share, cell_size, fine_cell_size)
    else:
        score = F.avg_pool2d(edge, step).flatten(1).double()
        if policy == 'edge_stratified':
            mask = _stratified(score, noise, member, count, rate, top_share)
        else:
            mask = _choose((score if policy == 'edge_inverse' else -score) + _ties(noise), member, count)
    return _spread(mask.view(batch, height // step, width // step), step // token_size)


def _stratified(score: Tensor, noise: Tensor, member: Tensor, count: Tensor, rate: float, top_share: float) -> Tensor:
    """Hide ``count`` members of every row, the ``top_share`` with the highest score at ``rate``; (B, N) bool."""
    number = member.sum(1)
    num_top = (top_share * number.double()).round().long()
    is_top = _choose(-score + _ties(noise), member, num_top)
    # the others must be able to make up the rest
    top_hidden = (rate * num_top.double()).round().long().clamp(min=count - (number - num_top), max=count)
    return _choose(noise, is_top, top_hidden) | _choose(noise, member & ~is_top, count - top_hidden)


def _adaptive(edge: Tensor, noise: Tensor, usable: Tensor, count: Tensor, ratio: float, rate: float, top_share: float,
              cell_size: int, fine_cell_size: int) -> Tensor:
    """Hide ``count`` fine cells per sample, see :func:`sample_mask`; (B, fine cells) bool."""
    batch, _, height, width = edge.shape
    grid = (height // cell_size, width // cell_size)
    factor = cell_size // fine_cell_size
    coarse = F.avg_pool2d(edge, cell_size).flatten(1).double()  # (B, cells)
    fine = F.avg_pool2d(edge, fine_cell_size).flatten(1).double()  # (B, fine cells)
    member = _spread(usable, grid[0] // usable.shape[1]).flatten(1)

    # one draw serves two levels: a coarse cell takes the noise of its top left fine cell
    coarse_noise = noise.view(batch, grid[0] * factor, -1)[:, ::factor, ::factor].flatten(1)
    num_cells = member.sum(1)
    num_edge = num_cells // 2
    # a flat image gets a random half
    is_edge = _choose(-coarse + _ties(coarse_noise, 16), member, num_edge)

    flat_hidden = (ratio * (num_cells - num_edge).double()).round().long()
    # the fine cells must be able to make up the rest
    least = (count - num_edge * factor**2 + factor**2 - 1) // factor**2
    flat_hidden = flat_hidden.clamp(min=least, max=count // factor**2)
    flat = _choose(coarse_noise, member & ~is_edge, flat_hidden)

    def fine_cells(cells: Tensor) -> Tensor:  # (B, cells) -> (B, fine cells)
        return _spread(cells.view(batch, *grid), factor).flatten(1)

    return fine_cells(flat) | _stratified(fine, noise, fine_cells(is_edge), count - flat_hidden * factor**2, rate,
                                          top_share)


def _spread(cells: Tensor, factor: int) -> Tensor:
    """(B, h, w) -> (B, h factor, w factor), every cell repeated."""
    return cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _ties(noise: Tensor, bits: int = 32) -> Tensor:
    """Breaks ties of scores by the draw without its first ``bits`` bits, which is independent of them.

    Otherwise cells chosen in a tie would be those with the smallest noise, which are hidden first; and the two
    levels, which share a draw, need different bits.
    """
    return 1e-9 * (noise * 2**bits % 1)


def _choose(key: Tensor, member: Tensor, count: Tensor) -> Tensor:
    """The ``count`` (B,) members with the smallest key in every row; (B, N) bool."""
    order = key.masked_fill(~member, float('inf')).argsort(dim=1, stable=True)
    first = torch.arange(key.shape[1], device=key.device) < count[:, None]
    return torch.zeros_like(member).scatter_(1, order, first)


def _check(height: int, width: int, ratio: float, policy: str, token_size: int, cell_size: int,
           fine_cell_size: int) -> None:
    if policy not in POLICIES:
        raise ValueError(f'unknown mask policy {policy!r}; choose one of {", ".join(POLICIES)}')
    if not 0 < ratio < 1:
        raise ValueError(f'mask ratio must lie in (0, 1), got {ratio}')
    if height % cell_size or width % cell_size:
        raise ValueError(f'image size {height} x {width} px must be divisible by cell_size = {cell_size}')
    if cell_size < _QUANTUM and _QUANTUM % cell_size:
        raise ValueError(f'cell_size = {cell_size} must divide {_QUANTUM} px or be larger: otherwise the count of '
                         'hidden tokens cannot be that of the other policies')
    if cell_size % token_size:
        raise ValueError(f'cell_size = {cell_size} must be a multiple of token_size = {token_size} px')
    if policy in _ADAPTIVE and (cell_size % fine_cell_size or fine_cell_size % token_size):
        raise ValueError(f'cell_size = {cell_size} must be a multiple of fine_cell_size = {fine_cell_size}, '
                         f'and that of token_size = {token_size} px')
