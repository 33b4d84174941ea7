"""Thinning and edge tracking of Canny (IEEE TPAMI 8, 1986): pure functions on tensors, no registry."""
import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 16  # dilations between two looks at the result, each of which waits for the device


def thin(gradient: Tensor) -> Tensor:
    """Non-maximum suppression: pixels whose gradient magnitude is a maximum along the gradient.

    A pixel is compared with both places where the line along its gradient leaves its 3 x 3 neighbourhood; the
    magnitude there is interpolated linearly between two neighbours. Ties are kept. This is scikit-image's
    definition; kornia and OpenCV round the direction to 45 degrees instead, and kornia before 0.9 drops ties,
    and with them both sides of an ideal step.

    Args:
        gradient: (B, 2, H, W) float: d/dx and d/dy.

    Returns:
        (B, 1, H, W) bool; False on the outermost pixels, whose neighbourhood is not complete.
    """
    dx, dy = gradient[..., 1:-1, 1:-1].split(1, dim=1)
    magnitude = gradient.square().sum(1, keepdim=True).sqrt()
    height, width = magnitude.shape[-2:]

    def shifted(down: int, right: int) -> Tensor:
        return magnitude[..., 1 + down:height - 1 + down, 1 + right:width - 1 + right]

    steep = dy.abs() > dx.abs()
    falling = dx * dy >= 0  # the gradient points down right or up left
    large, small = torch.maximum(dx.abs(), dy.abs()), torch.minimum(dx.abs(), dy.abs())
    weight = torch.where(large > 0, small / large, 0.0)  # of the diagonal neighbour

    def neighbour(step: int) -> Tensor:
        straight = torch.where(steep, shifted(step, 0), shifted(0, step))
        rising = torch.where(steep, shifted(step, -step), shifted(-step, step))
        return straight.lerp(torch.where(falling, shifted(step, step), rising), weight)

    here = shifted(0, 0)
    return F.pad((here > 0) & (here >= neighbour(1)) & (here >= neighbour(-1)), (1, 1, 1, 1))


def hysteresis(weak: Tensor, strong: Tensor) -> Tensor:
    """Weak pixels that a chain of weak 8-neighbours joins to a strong one.

    Repeats dilations until nothing changes, so the device is waited for once in 16 rounds.

    Args:
        weak: (B, 1, H, W) bool.
        strong: (B, 1, H, W) bool; those that are not weak do not count.

    Returns:
        (B, 1, H, W) bool.
    """
    allowed = weak.float()
    edges = allowed * strong
    while True:
        grown = edges
        for _ in range(_ROUNDS):
            grown = F.max_pool2d(grown, 3, stride=1, padding=1) * allowed
        if torch.equal(grown, edges):
            return edges > 0
        edges = grown
