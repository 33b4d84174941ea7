"""Which tiles are labelled: exact, nested, seeded, class-covering. Pure NumPy.

One seed gives one full order of the tiles and a budget takes its first n: budgets of a seed are nested
by construction. The order depends on the tile names, their class pixels and the seed, never on the
order of the files or on the machine.
"""
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from numbers import Integral, Real

import numpy as np

__all__ = ['STRATEGIES', 'UNITS', 'budget_count', 'covered_classes', 'covering_tiles', 'order_tiles', 'parse_budget',
           'select_tiles']

STRATEGIES = ('class_covering', 'random', 'source')
UNITS = ('tile', 'source')

# From this share of its labelled pixels on a class counts as covered by a tile: 260 px of a 512-px tile,
# a 16-px patch. A few stray pixels of a class teach nothing.
MIN_SHARE = 0.001

# The smallest cover is searched exactly up to this many classes, greedily above (the search is
# exponential in the classes; 16 take well below a second).
MAX_EXACT_CLASSES = 16


def budget_count(budget: float | int | str, total: int, unit: str = 'tile') -> int:
    """Number of tiles a budget stands for.

    Args:
        budget: A float in (0, 1] is a fraction: exactly max(1, round(budget * total)) tiles. An int >= 1 is a count. A
            string is either of them or a percentage: '5%'. So ``1.0`` and '100%' are all tiles and ``1`` is one tile.
        total: Number of tiles there are.
        unit: What is counted, for messages.

    Raises:
        TypeError: A budget that is no number, or a bool.
        ValueError: 0, negative, a fraction above 1 or a count above ``total``.
    """
    if isinstance(budget, str):
        return budget_count(parse_budget(budget), total, unit)
    if isinstance(budget, (bool, np.bool_)) or not isinstance(budget, Real):
        raise TypeError(f'label budget {budget!r} is a {type(budget).__name__}: give a fraction in (0, 1], '
                        "a count >= 1 or a percentage such as '5%'")
    if isinstance(budget, Integral):
        if budget < 1:
            raise ValueError(f'label budget {budget} labels nothing: give at least 1 {unit}')
        if budget > total:
            raise ValueError(f'label budget {budget} is larger than the data, which has {total} {unit}s')
        return int(budget)
    if not 0 < budget <= 1:
        raise ValueError(f'label budget {budget} is a fraction outside (0, 1]; write a count without a '
                         'decimal point')
    return max(1, round(float(budget) * total))


def parse_budget(text: str) -> float | int:
    """A budget as it is typed: ``'2'`` is a count, ``'2.5%'`` and ``'0.025'`` the same fraction.

    Raises:
        ValueError: No number, or a percentage outside (0, 100].
    """
    stripped = text.strip()
    try:
        if not stripped.endswith('%'):
            return int(stripped) if stripped.lstrip('+-').isdigit() else float(stripped)
        percentage = float(stripped[:-1])
    except ValueError:
        raise ValueError(f"label budget '{text}' is not a number or a percentage such as '5%'") from None
    if not 0 < percentage <= 100:
        raise ValueError(f'label budget {stripped} is outside (0 %, 100 %]')
    return percentage / 100


def select_tiles(names: Sequence[str], class_pixels: np.ndarray, budget: float | int | str, seed: int = 0,
                 strategy: str = 'class_covering', sources: Sequence[str] | None = None,
                 unit: str = 'tile') -> list[str]:
    """Choose the labelled tiles.

    Args:
        names: N unique tile names.
        class_pixels: (N, K) integers, pixels of each class in each tile. May be None for the strategies that do not
            need it.
        budget: See :func:`budget_count`.
        seed: Which subset. Budgets of one seed are nested.
        strategy: ``class_covering``: every class that occurs is covered as soon as the number of tiles allows, then
            random; tiles without a labelled pixel come last. ``random``. ``source``: whole sources, one after the other
            in random order (labels from few places); the last one may be cut to keep the count exact.
        sources: Source of each tile, for the strategy and the unit ``source``.
        unit: What the budget counts. ``tile``, or ``source``: whole source images or areas, chosen by the strategy from
            the sums of their tiles; with ``class_covering`` or ``random``.

    Returns:
        Exactly ``budget_count(budget, N)`` names in the order of choice; with the unit ``source`` all tiles of exactly
        ``budget_count(budget, number of sources)`` sources.

    Raises:
        ValueError: Duplicate names, shapes that do not match, an unknown strategy, a bad budget.
        TypeError: A budget of a wrong type.
    """
    if unit not in UNITS:
        raise ValueError(f"unknown unit '{unit}'; there are {', '.join(UNITS)}")
    if unit == 'source':
        return _tiles_of_sources(names, class_pixels, budget, seed, strategy, sources)
    count = budget_count(budget, len(names))
    return order_tiles(names, class_pixels, seed, strategy, sources)[:count]


def order_tiles(names: Sequence[str], class_pixels: np.ndarray, seed: int = 0,
                strategy: str = 'class_covering', sources: Sequence[str] | None = None) -> list[str]:
    """All tiles in the order in which budgets take them; arguments as in :func:`select_tiles`."""
    names = list(names)
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy '{strategy}'; there are {', '.join(STRATEGIES)}")
    if len(set(names)) != len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"tile name '{duplicate}' occurs more than once; names must be unique")

    order = sorted(range(len(names)), key=lambda i: _rank(seed, names[i]))
    if strategy == 'source':
        _check_sources(names, sources, "strategy 'source'")
        order.sort(key=lambda i: _rank(seed, f'source:{sources[i]}'))  # stable: keeps the order inside
    elif strategy == 'class_covering':
        pixels = np.asarray(class_pixels)
        if pixels.ndim != 2 or len(pixels) != len(names):
            raise ValueError(f'class_pixels has the shape {pixels.shape}, expected ({len(names)}, classes)')
        first = covering_tiles(pixels[order])
        chosen = {order[i] for i in first}
        others = sorted((i for i in order if i not in chosen), key=lambda i: not pixels[i].any())  # stable
        order = [order[i] for i in first] + others
    return [names[i] for i in order]


def _tiles_of_sources(names: Sequence[str], class_pixels: np.ndarray, budget: float | int | str, seed: int,
                      strategy: str, sources: Sequence[str] | None) -> list[str]:
    if strategy == 'source':
        raise ValueError("unit 'source' needs the strategy class_covering or random")
    _check_sources(names, sources, "unit 'source'")
    groups = sorted(set(sources))
    row = {source: i for i, source in enumerate(groups)}
    pixels = None
    if class_pixels is not None:
        pixels = np.zeros((len(groups), np.shape(class_pixels)[1]), dtype=np.int64)
        np.add.at(pixels, [row[source] for source in sources], class_pixels)
    count = budget_count(budget, len(groups), 'source')
    tiles: dict[str, list[str]] = {source: [] for source in groups}
    for name, source in sorted(zip(names, sources)):
        tiles[source].append(name)
    return [name for source in order_tiles(groups, pixels, seed, strategy)[:count] for name in tiles[source]]


def _check_sources(names: Sequence[str], sources: Sequence[str] | None, what: str) -> None:
    if sources is None or len(sources) != len(names) or any(source is None for source in sources):
        raise ValueError(f'{what} needs the source of every tile')


def covering_tiles(class_pixels: np.ndarray, min_share: float = MIN_SHARE) -> list[int]:
    """The fewest tiles that together cover every class; among equals, the first rows win.

    A tile covers a class when the class takes at least ``min_share`` of its labelled pixels, or, for
    classes that are always small, the median share of the tiles that hold it: each class that occurs is
    covered by at least half of the tiles that hold it.

    Args:
        class_pixels: (N, K) integers; the row order is the order of preference.
        min_share: Share in [0, 1].

    Returns:
        Row numbers, the tile that adds most classes first.
    """
    covered = covered_classes(class_pixels, min_share)  # (N, K) bool
    covered = covered[:, covered.any(axis=0)]
    tiles = [sum(1 << int(k) for k in np.flatnonzero(row)) for row in covered]  # class sets as bits
    missing = (1 << covered.shape[1]) - 1
    exact = covered.shape[1] <= MAX_EXACT_CLASSES
    fewest = _cover_counter(frozenset(tiles))

    chosen = []
    while missing:
        if exact:
            steps = fewest(missing)
            tile = next(i for i, t in enumerate(tiles) if t & missing and fewest(missing & ~t) == steps - 1)
        else:
            tile = max(range(len(tiles)), key=lambda i: ((tiles[i] & missing).bit_count(), -i))
        chosen.append(tile)
        missing &= ~tiles[tile]
    return _most_classes_first(chosen, tiles)


def covered_classes(class_pixels: np.ndarray, min_share: float = MIN_SHARE) -> np.ndarray:
    """(N, K) integers -> (N, K) bool: which classes each tile covers, as :func:`covering_tiles` counts it."""
    shares = class_pixels / np.maximum(class_pixels.sum(axis=1, keepdims=True), 1)
    covered = np.zeros(shares.shape, dtype=bool)
    for k in range(shares.shape[1]):
        held = shares[:, k] > 0
        if held.any():
            covered[:, k] = held & (shares[:, k] >= min(min_share, np.median(shares[held, k])))
    return covered


def _cover_counter(tiles: frozenset[int]) -> Callable[[int], int]:
    """Function: set of classes (bits) -> the fewest of ``tiles`` that cover it."""
    maximal = _without_subsets(tiles)

    @cache
    def fewest(missing: int) -> int:
        if not missing:
            return 0
        useful = _without_subsets({t & missing for t in maximal})
        # Some tile must cover the rarest class: branching on it alone keeps the search small.
        bits = [1 << k for k in range(missing.bit_length()) if missing >> k & 1]
        rarest = min(bits, key=lambda bit: sum(1 for t in useful if t & bit))
        return 1 + min(fewest(missing & ~t) for t in useful if t & rarest)

    return fewest


def _without_subsets(sets: Iterable[int]) -> list[int]:
    """The bit sets that are not contained in another one: only these matter for a smallest cover."""
    kept: list[int] = []
    for t in sorted(sets, key=lambda t: (-t.bit_count(), t)):
        if not any(t & ~other == 0 for other in kept):
            kept.append(t)
    return kept


def _most_classes_first(chosen: list[int], tiles: list[int]) -> list[int]:
    """Order a cover so that each of its prefixes covers many classes."""
    ordered, missing, left = [], -1, list(chosen)
    while left:
        best = max(left, key=lambda i: (tiles[i] & missing).bit_count())
        left.remove(best)
        ordered.append(best)
        missing &= ~tiles[best]
    return ordered


def _rank(seed: int, name: str) -> bytes:
    """Random but reproducible rank of a name: the same on every machine, unlike ``hash``."""
    return hashlib.blake2b(f'{seed}\x1f{name}'.encode(), digest_size=16).digest() + name.encode()
