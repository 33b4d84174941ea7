"""The training loop whose iterations are steps of the optimizer over a global batch, whatever computes them."""
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from egmim_mm.checks import share_out
from egmim_mm.checks.batch_checks import check_stated
from egmim_mm.models.whole_step import whole_step
from egmim_mm.registry import LOOPS

__all__ = ['GlobalBatchLoop']


class _Parts:
    """MMEngine's iterator of batches, several of them at a time."""

    def __init__(self, batches: Iterator, number: int) -> None:
        self.batches, self.number = batches, number

    def __next__(self) -> list:
        return [next(self.batches) for _ in range(self.number)]

    def skip_iter(self, iterations: int) -> None:
        """Go on after that many iterations."""
        self.batches.skip_iter(iterations * self.number)


@LOOPS.register_module()
class GlobalBatchLoop(IterBasedTrainLoop):
    """MMEngine's IterBasedTrainLoop, for a batch that does not depend on the number of processes.

    ``global_batch = processes x parts x images of a part``. A process computes the parts one after another and sums up
    their gradients; then comes one step of the optimizer. An iteration is such a step, for ``max_iters``, schedules,
    intervals, the log and checkpoints alike. Images, crops, masks and losses of a step are those of one process that
    computes the whole batch at once; BatchNorm, which sees a part, and random depth and dropout are not.

    The loader's ``batch_size`` follows, and is left out of the config.

    Args:
        runner: MMEngine's.
        dataloader: The loader, or its config.
        max_iters: Steps of the optimizer.
        global_batch: Images of a step over all processes.
        max_batch_per_process: Most images that a process computes at once, for its memory; None = its whole share.
        kwargs: Of MMEngine's loop: ``val_begin``, ``val_interval``, ...

    Raises:
        LaunchError: A batch that the processes cannot share equally, or a loader with another ``batch_size``.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 max_iters: int,
                 global_batch: int,
                 max_batch_per_process: int | None = None,
                 **kwargs) -> None:
        self.shares = share_out(global_batch, get_world_size(), max_batch_per_process)
        if isinstance(dataloader, DataLoader):
            check_stated(dict(batch_size=dataloader.batch_size), self.shares)
        else:
            check_stated(dataloader, self.shares)
            dataloader = dict(dataloader, batch_size=self.shares.images)
        super().__init__(runner, dataloader, max_iters, **kwargs)
        if self.shares.accumulation > 1:
            self.dataloader_iterator = _Parts(self.dataloader_iterator, self.shares.accumulation)
        runner.logger.info(f'Batch: {self.shares}')

    def run(self) -> torch.nn.Module:
        """Train, from where the run stands."""
        parts = self.shares.accumulation
        if parts > 1:
            wrapper = self.runner.optim_wrapper
            wrapper._accumulative_counts = parts
            wrapper.initialize_count_status(self.runner.model, self._iter * parts, self._max_iters * parts)
        return super().run()

    def run_iter(self, data_batch: Any) -> None:
        """One step of the optimizer.

        Args:
            data_batch: A batch of the loader, or the list of those that are the parts of this step.
        """
        if self.shares.accumulation == 1:
            super().run_iter(data_batch)
            return
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
        outputs = self._accumulate(data_batch)
        self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def _accumulate(self, batches: list) -> dict[str, torch.Tensor]:
        """Values for the log: the means over the parts."""
        model, wrapper = self.runner.model, self.runner.optim_wrapper
        inner = model.module if is_model_wrapper(model) else model
        # all of them first: preprocessing may be random, and some losses have to know the labels of every part
        parts = [inner.data_preprocessor(batch, training=True) for batch in batches]
        logged: list[dict[str, torch.Tensor]] = []
        with whole_step(inner, parts, wrapper.optim_context(model)):
            for number, part in enumerate(parts):
                if hasattr(inner, 'set_part'):
                    inner.set_part(number, len(parts))
                with wrapper.optim_context(model):
                    losses = model._run_forward(part, mode='loss')
                loss, values = inner.parse_losses(losses)
                wrapper.update_params(loss)
                logged.append({name: value.detach() for name, value in values.items()})
        return {name: torch.stack([values[name] for values in logged]).mean(0) for name in logged[0]}
