"""Maps of a network brought to a finer grid along paths that cross no edge. Pure functions of tensors."""
import torch
from torch import Tensor
from torch.nn import functional as F

from .paths import corner_maximum, pair, path_maximum, straight_offsets

__all__ = ['geodesic_distance', 'upsample_by_edges']


def geodesic_distance(edge: Tensor, coarse: tuple[int, int], fine: tuple[int, int], cost: float) -> Tensor:
    """Length of the shortest path from every coarse place to every fine one, in sides of coarse places.

    A step from a fine place to one of its eight neighbours is as long as its length and ``cost`` times the largest
    edge strength between the two centres. The path begins at the centre of the coarse place; those of 2 r steps or
    less are all looked at, some longer ones, too. It stays in the coarse place and the eight around it.

    Args:
        edge: (B, 1, H, W) edge strength in [0, 1], H and W divisible by ``fine``, places of an even number of pixels.
        coarse, fine: (h, w) of the grids over the image; fine / coarse is the same even number r on both sides.
        cost: Of a full-strength edge, sides of coarse places, >= 0.

    Returns:
        (B, h w of coarse, h, w of fine) float32; inf where no such path leads.

    Raises:
        ValueError: Grids that do not fit each other.
    """
    ratio = fine[0] // coarse[0]
    if ratio < 2 or ratio % 2 or (coarse[0] * ratio, coarse[1] * ratio) != tuple(fine):
        raise ValueError(f'a grid of {fine[0]} x {fine[1]} is no even multiple of {coarse[0]} x {coarse[1]}')
    corners, stride, side = corner_maximum(edge.float()), edge.shape[-1] // fine[1], 3 * ratio
    steps = []  # of every window of 3 x 3 coarse places; none leads out of the image
    for offset in straight_offsets(1):
        length = sum(far * far for far in offset)**0.5 / ratio + cost * path_maximum(corners, stride, offset)
        kernel = (side - offset[0], side - abs(offset[1]))
        own = F.unfold(F.pad(length[:, None], (ratio, ) * 4, value=torch.inf), kernel, stride=ratio)
        steps.append((offset, own.transpose(1, 2).unflatten(2, kernel)))
    place = torch.arange(coarse[0] * coarse[1], device=edge.device)
    top, left = place // coarse[1] * ratio, place % coarse[1] * ratio
    distance = edge.new_full((len(edge), len(place), side, side), torch.inf, dtype=torch.float32)
    middle = side // 2
    for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):  # the four places around a centre, along their diagonals
        strength = torch.stack([corners[:, 0, (top + ratio // 2) * stride - 1 + down * far,
                                        (left + ratio // 2) * stride - 1 + right * far]
                                for far in range(0, stride // 2 + 1, 2)]).amax(0)
        distance[:, :, middle + min(down, 0), middle + min(right, 0)] = 0.5**0.5 / ratio + cost * strength
    for _ in range(2 * ratio):
        for offset, length in steps:
            first, second = pair(distance, offset)
            torch.minimum(first, second + length, out=first)
            torch.minimum(second, first + length, out=second)
    whole = distance.new_full((len(edge), len(place), fine[0] + 2 * ratio, fine[1] + 2 * ratio), torch.inf)
    reach = torch.arange(side, device=edge.device)
    whole[:, place[:, None, None], (top[:, None] + reach)[:, :, None], (left[:, None] + reach)[:, None]] = distance
    return whole[..., ratio:-ratio, ratio:-ratio]


def upsample_by_edges(values: Tensor, edge: Tensor, size: tuple[int, int], cost: float = 2.0,
                      temperature: float = 0.25) -> Tensor:
    """Bring a coarse map to a finer grid: a fine place takes from the coarse ones that are near and on its side.

    The weights of the coarse places are the softmax of -distance / ``temperature``, see :func:`geodesic_distance`:
    joint bilateral upsampling (Kopf et al., 2007) with the length of a path in place of a difference of colours.
    ``cost`` and ``temperature`` are our own choices.

    Args:
        values: (B, C, h, w) float.
        edge: (B, 1, H, W) edge strength in [0, 1].
        size: (h, w) of the result.
        cost: Of a full-strength edge, sides of coarse places; 0 = edges do not matter.
        temperature: In sides of coarse places; the smaller, the sharper.

    Returns:
        (B, C, *size) float32, no value outside the range of ``values``.
    """
    distance = geodesic_distance(edge, tuple(values.shape[-2:]), tuple(size), cost)
    weights = (-distance.flatten(2) / temperature).softmax(1)
    return (values.float().flatten(2) @ weights).unflatten(2, tuple(size))
