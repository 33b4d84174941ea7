from collections.abc import Sequence

import torch
from mmengine.runner import Runner

from egmim_mm.evaluation.representation import feature_statistics, is_collapsed, sample_positions
from egmim_mm.models import EGMIM
from egmim_mm.pictures.pretraining import model_inputs, picture_unit
from egmim_mm.registry import HOOKS

from .fixed_tiles import FixedTilesHook


@HOOKS.register_module()
class RepresentationHealthHook(FixedTilesHook):
    """Logs whether the stages of the backbone still tell places apart, while the loss only tells that it falls.

    On whole, unmasked tiles, over at most 64 places of each: effective rank (Roy & Vetterli 2007), mean cosine
    similarity and relative standard deviation of the features of all stages, whether or not a term reads them (see
    :mod:`egmim_mm.evaluation.representation`). One log line, and the scalars ``health/stage1_effective_rank``,
    ``health/stage1_cosine``, ``health/stage1_std``, ... for the visualizer (``scalars.json``). A stage that collapses
    is warned of once. See :class:`FixedTilesHook` for when, for the data and for what is raised.

    Args:
        interval: Iterations, or a share of the run as a float; 0 turns the hook off.
        num_tiles: Tiles, spread over the training data set. The rank cannot exceed the number of places, which
            64 tiles of 128 px keep above the 768 channels of Swin-T and 24 tiles at the 384 of nano.
        images: Image files or folders to take instead.
        size: Side of the tiles, px, a multiple of 32; by default the backbone's ``img_size``.
    """

    def __init__(self,
                 interval: int | float = 500,
                 num_tiles: int = 64,
                 images: Sequence[str] | str | None = None,
                 size: int | None = None) -> None:
        super().__init__(interval, num_tiles, images, size)
        self.collapsed: set[int] = set()

    def default_size(self, model: EGMIM) -> int:
        unit = picture_unit(model)
        return max(max(model.backbone.patch_embed.init_input_size) // unit, 1) * unit

    def look(self, runner: Runner, model: EGMIM, step: int) -> None:
        stages = range(1, 1 + len(model.backbone.stages))
        places = [[] for _ in stages]
        for tile in self.tiles:  # one by one: tiles may differ in size, and memory stays small
            for features, feature_map in zip(places, model.backbone.every_stage(model_inputs(model, tile))):
                features.append(sample_positions(feature_map))
        health = {stage: feature_statistics(torch.cat(features)) for stage, features in zip(stages, places)}

        scalars = {f'health/stage{stage}_{name}': value for stage, values in health.items()
                   for name, value in values.items()}
        runner.visualizer.add_scalars(scalars, step)
        runner.logger.info(f'Features after {step} iterations: ' + '; '.join(
            f'stage {stage} rank {v["effective_rank"]:.1f} of {features[0].shape[1]}, cosine {v["cosine"]:.2f}, '
            f'std {v["std"]:.2f}' for (stage, v), features in zip(health.items(), places)))
        collapsed = {stage for stage, values in health.items() if is_collapsed(values)}
        for stage in sorted(collapsed - self.collapsed):
            runner.logger.warning(
                f'Stage {stage} of the backbone has collapsed after {step} iterations: its features hardly differ '
                f'between places (mean cosine {health[stage]["cosine"]:.4f}, effective rank '
                f'{health[stage]["effective_rank"]:.2f}). Lower the learning rate or start from other weights.')
        self.collapsed = collapsed
