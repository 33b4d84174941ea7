from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from egmim_mm.datasets.plain_tiles import Tile, centre_crop, dataset_tiles, file_tiles, pipeline_of
from egmim_mm.models import EGMIM
from egmim_mm.pictures.pretraining import picture_unit


class FixedTilesHook(Hook):
    """Looks at the model through the same few tiles: at the start, every ``interval`` iterations and at the end.

    The tiles are read once, in the main process, as the training data set loads them, without augmentation, and cut
    from the centre. Looking draws no random number and leaves training as it was, so the weights of a run do not
    depend on it.

    Args:
        interval: Iterations, or a share of the run as a float below 1; 0 turns the hook off.
        num_tiles: Tiles, spread over the training data set.
        images: Image files or folders to take instead.
        size: Side of the tiles, px.

    Raises:
        ValueError: A negative interval or no tiles. Before training: a model that is not EGMIM, tiles too small.
        FileNotFoundError, TileReadError: Before training: a tile that is missing or cannot be read.
    """

    priority = 'LOWEST'  # after the checkpoint hook: whatever happens here costs no checkpoint

    def __init__(self,
                 interval: int | float,
                 num_tiles: int,
                 images: Sequence[str] | str | None = None,
                 size: int | None = None) -> None:
        if interval < 0 or interval > 1 and interval != int(interval) or num_tiles < 1:
            raise ValueError(f'{type(self).__name__}: interval must be at least 0 and num_tiles at least 1, got '
                             f'{interval} and {num_tiles}')
        self.interval, self.num_tiles, self.size = interval, num_tiles, size
        self.images = [images] if isinstance(images, str) else images
        self.tiles: list[Tile] = []

    @abstractmethod
    def default_size(self, model: EGMIM) -> int:
        """Side of the tiles in px if ``size`` was not given."""

    @abstractmethod
    def look(self, runner: Runner, model: EGMIM, step: int) -> None:
        """Do what the hook is for; the model is in eval mode, without gradients, after ``step`` iterations."""

    def before_train(self, runner: Runner) -> None:
        if not self._looks():
            return
        model = _unwrapped(runner.model)
        if not isinstance(model, EGMIM):
            raise ValueError(f'{type(self).__name__} looks into egmim_mm.EGMIM, but the model is a '
                             f'{type(model).__name__}: turn the hook off with interval=0')
        if self.interval < 1:
            self.interval = max(1, round(self.interval * runner.max_iters))
        dataset = runner.train_dataloader.dataset
        tiles = dataset_tiles(dataset, self.num_tiles) if self.images is None else file_tiles(
            self.images, self.num_tiles, pipeline_of(dataset))
        size = self.size or self.default_size(model)
        self.tiles = [centre_crop(tile, size, picture_unit(model)) for tile in tiles]
        if runner.iter == 0:
            self._look(runner, 0)

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        if self._looks() and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._look(runner, runner.iter + 1)

    def _looks(self) -> bool:
        return self.interval > 0 and is_main_process()

    def _look(self, runner: Runner, step: int) -> None:
        model = _unwrapped(runner.model)
        with _evaluating(model), torch.no_grad():
            self.look(runner, model, step)


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards each module is in the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
