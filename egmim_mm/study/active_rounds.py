"""Simulated rounds of labelling: a model is fitted, tiles are chosen and labelled, and it is fitted again."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config

from egmim_mm.datasets.plain_tiles import build_training_data
from egmim_mm.inference.frozen_backbone import SCRATCH

from .round_fits import Fit, RoundFits
from .suggest_report import backbone_features
from .suggest_tiles import METHODS, MODEL_METHODS, choose_tiles, read_statistics

__all__ = ['ARMS', 'check_rounds', 'simulate_rounds']

ARMS = ('random', *MODEL_METHODS)
START = 'start'


def simulate_rounds(cfg: Config, source: str, counts: Sequence[int], seeds: Sequence[int], out_dir: str | Path,
                    arms: Sequence[str] = ARMS, seed: int = 0, device: str = 'cpu') -> dict[str, dict[str, list[Fit]]]:
    """Fit read-outs to growing numbers of labelled tiles, each round's tiles chosen in different ways.

    The first tiles are random, and the same for all arms. What is in ``out_dir`` already is not made again.

    Args:
        cfg: Config of a read-out.
        source: Checkpoint or work dir of the backbone, whose features also say how different tiles are; ``'scratch'``:
            random weights, and colours and edges.
        counts: Labelled tiles of each round.
        seeds: Of the random tiles and of k-means; a simulation for each.
        out_dir: For each arm, number of tiles and seed a file.
        arms: See :data:`ARMS`.
        seed: Of the cells that are learned from.
        device: Where to compute.

    Returns:
        Arm -> number of tiles -> what the read-out of each seed gives.

    Raises:
        ValueError: As :func:`check_rounds` and :class:`~.round_fits.RoundFits`.
    """
    data = build_training_data(cfg)
    tiles = len(data)
    check_rounds(counts, seeds, arms, tiles)
    paths = [data.get_data_info(number)['img_path'] for number in range(tiles)]
    features = read_statistics(paths) if source == SCRATCH else backbone_features(cfg, source, paths)
    orders = {one: np.random.default_rng(one).permutation(tiles).tolist() for one in seeds}
    fits = RoundFits(cfg, source, data, [order[:counts[0]] for order in orders.values()], seed, device)
    made: dict[str, dict[str, list[Fit]]] = {arm: {str(count): [] for count in counts} for arm in arms}
    for arm in arms:
        for one in seeds:
            held: list[int] = []
            for stage, count in enumerate(counts):
                if not stage or arm == 'random':
                    held = orders[one][:count]
                else:
                    before = made[arm][str(counts[stage - 1])][-1]
                    held = held + choose_tiles(features, count - len(held), arm.removeprefix('weighted_'), one, held,
                                               None if arm in METHODS else before.uncertainty)
                path = Path(out_dir, f'{arm if stage else START}_{count}_seed{one}.json')
                made[arm][str(count)].append(fits.fit(held, path))
    return made


def check_rounds(counts: Sequence[int], seeds: Sequence[int], arms: Sequence[str], tiles: int) -> None:
    """Raise a ValueError unless the numbers of tiles ascend, are there, and nothing is named twice or not known."""
    if len(counts) < 2 or counts[0] < 1 or any(low >= high for low, high in zip(counts, counts[1:])):
        raise ValueError(f'--counts {" ".join(map(str, counts))}: two or more ascending numbers of tiles')
    if counts[-1] > tiles:
        raise ValueError(f'--counts {counts[-1]}: there are {tiles} training tiles')
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise ValueError(f"--arms: unknown '{unknown[0]}'; there are {', '.join(ARMS)}")
    for option, values in (('--seeds', seeds), ('--arms', arms)):
        if len(set(values)) < len(values):
            raise ValueError(f'{option} {" ".join(map(str, values))}: each one once')
