"""Policies that keep one cell of every 2 x 2 block, so that what is visible makes a map of half the side.

One of four in every block is the uniform sampling of UM-MAE (Li et al., 2022, arXiv:2205.10063). That edges choose
which one is this project's.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

UNIFORM_POLICIES = ('random_uniform', 'edge_uniform')
UNIFORM_RATIO = 0.75  # of hidden cells, by construction

_KEPT = {'weak': -1.0, 'strong': 1.0}  # sign of the edges in the odds of being kept


def uniform_mask(score: Tensor, noise: Tensor, usable: Tensor, emphasis: float, temperature: float,
                 keep: str) -> Tensor:
    """Hide three cells of every usable block.

    A cell's share of the edge energy of its block, q, decides the odds with which it is the one that is kept:
    ``P(keep) ~ exp(s emphasis q / temperature)``, s = -1 to keep weak edges and +1 to keep strong ones. In a flat
    block, and with ``emphasis = 0``, the four cells have equal odds.

    Args:
        score: (B, h, w) mean edge strength of the cells, at least 0; h and w even.
        noise: (B, h w) uniform in [0, 1), float64.
        usable: (B, h / 2, w / 2) bool; in other blocks nothing is hidden.
        emphasis: 0 = blind to edges, 1 = the odds above.
        temperature: Difference of q that makes the odds e times as high.
        keep: 'weak' or 'strong'.

    Returns:
        (B, h, w) bool, True = hidden.
    """
    batch, height, width = score.shape
    energy = _blocks(score) + 1e-6  # a flat block has equal shares
    share = energy / energy.sum(-1, keepdim=True)
    # the largest of log-odds plus Gumbel noise is a draw with these odds
    gumbel = -torch.log(-torch.log(_blocks(noise.view(batch, height, width)).clamp(1e-15, 1 - 1e-15)))
    kept = (_KEPT[keep] * emphasis / temperature * share + gumbel).argmax(-1)
    hidden = (F.one_hot(kept, 4) == 0) & usable[..., None]
    return hidden.view(batch, height // 2, width // 2, 2, 2).permute(0, 1, 3, 2, 4).reshape(batch, height, width)


def check_uniform(height: int, width: int, policy: str, ratio: float, cell_size: int, temperature: float,
                  keep: str) -> None:
    """Raises:
        ValueError: What does not fit the policy, in one line.
    """
    if ratio != UNIFORM_RATIO:
        raise ValueError(f'mask policy {policy} keeps one cell of every 2 x 2 block, so its ratio is {UNIFORM_RATIO}, '
                         f'not {ratio}: set mask_generator.ratio={UNIFORM_RATIO}, or choose another policy')
    if height % (2 * cell_size) or width % (2 * cell_size):
        raise ValueError(f'image size {height} x {width} px must be divisible by {2 * cell_size} px, the blocks of '
                         f'2 x 2 cells of mask policy {policy}')
    if keep not in _KEPT:
        raise ValueError(f'keep = {keep!r} of mask policy {policy} must be one of {", ".join(_KEPT)}')
    if not temperature > 0:
        raise ValueError(f'temperature = {temperature!r} of mask policy {policy} must be above 0; 1000 is as good as '
                         'blind to edges')


def _blocks(cells: Tensor) -> Tensor:
    """(B, h, w) -> (B, h / 2, w / 2, 4), a block's cells in reading order."""
    batch, height, width = cells.shape
    return cells.view(batch, height // 2, 2, width // 2, 2).transpose(2, 3).flatten(3)
