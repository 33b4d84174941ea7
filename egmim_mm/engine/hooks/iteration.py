"""Hooks that make an iteration a pure function of (seed, iteration), so that a resumed run is exact."""
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed torch before every iteration from (seed of the run, iteration, rank).

    Dropout and stochastic depth then depend on nothing that a checkpoint would have to keep. Masks and
    augmentations have generators of their own.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        torch.manual_seed((runner.seed * 1_000_003 + runner.iter) * 4_099 + get_rank())


@HOOKS.register_module()
class MaskCurriculumHook(Hook):
    """Tell :class:`egmim_mm.models.EGMIM` the iteration, the length of the run and its seed.

    The mask's edge emphasis grows with iter / max_iters; nothing else keeps state.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.set_iteration(runner.iter, runner.max_iters, runner.seed)
