"""MMEngine's Runner as a person at the console wants it."""
import logging
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.checkpoints.mmengine_loading import load_weights_only
from egmim_mm.evaluation.protocol import describe_batch, lr_scale

from .compilation import compile_parts
from .freed_memory import keep_freed_memory
from .optimization_plan import OptimizationPlan
from .optimizer_groups import check_groups
from .recorded_settings import Change
from .resuming import changes_since, check_resumable

_TO_FILE_ONLY = ('Config:\n', '\n' + '-' * 60, 'Hooks will be executed', 'paramwise_options',
                 '"FileClient" will be', '"HardDiskBackend" is')


class ConsoleRunner(Runner):
    """MMEngine's Runner, with the dumps of environment, config and hooks kept to the log file.

    It reads checkpoints without running code in them, unless the config has ``trust_checkpoint=True``, writes them in
    one step, and on a resume lets the config prevail over the recorded settings of optimizer and schedule.
    """

    def __init__(self, *args, cfg: Config | None = None, **kwargs) -> None:
        load_weights_only(trust=bool((cfg or {}).get('trust_checkpoint', False)))
        self._changes: list[Change] = []  # since the checkpoint that is resumed
        self._plan: OptimizationPlan | None = None
        super().__init__(*args, cfg=cfg, **kwargs)

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: not record.getMessage().startswith(_TO_FILE_ONLY))
        return logger

    def resume(self, filename: str, *args, **kwargs) -> None:
        """As MMEngine's, but what has changed in the config takes effect, and is logged."""
        if isinstance(self.optim_wrapper, OptimWrapper):
            self._plan = OptimizationPlan(self.optim_wrapper, self.param_schedulers)
        super().resume(filename, *args, **kwargs)
        for change in self._changes:
            self.logger.info(f'Changed on resume: {change}')
        if self._plan and any(change.is_of_schedule for change in self._changes):
            self._plan.follow(self.iter, self.epoch)

    def train(self) -> torch.nn.Module:
        """As MMEngine's; without a GPU memory is kept from step to step."""
        if not torch.cuda.is_available():
            keep_freed_memory()
        return super().train()

    def _maybe_compile(self, target: str) -> None:
        """Compile parts of the model, not ``target``, the whole step, which is compiled anew for every iteration."""
        count = compile_parts(self.model, self.cfg.get('compile') or False)
        if count:
            self.logger.info(f'compile: {count} parts of the model are compiled in the first iterations')

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """As MMEngine's, which forgets that accumulated parts make one larger batch."""
        batch = describe_batch(self)['global_batch']
        factor = lr_scale(auto_scale_lr, batch)
        if factor != 1:
            self.logger.info(f'Learning rate: x {factor:.4g}, as it stands for {auto_scale_lr["base_batch_size"]} '
                             f'images a step and there are {batch}')
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] *= factor

    def load_checkpoint(self, filename: str, map_location='cpu', strict: bool = False, **kwargs) -> dict:
        """As MMEngine's, but a test refuses weights that do not fit: it would score a random head."""
        testing = not isinstance(self._train_loop, BaseLoop)
        try:
            checkpoint = super().load_checkpoint(filename, map_location, strict=strict or testing, **kwargs)
        except CheckpointError:
            raise
        except RuntimeError as error:
            if not testing:
                raise
            raise CheckpointError(f"{filename} does not hold the weights of this config's model (a pretraining "
                                  'checkpoint, or another arch or number of classes? A run leaves the config that '
                                  f'fits in its work dir). {error}') from error
        if self._resume:
            check_resumable(filename, checkpoint)
            self._changes = changes_since(checkpoint['meta'], self.cfg)
            if self._plan and 'optimizer' in checkpoint:
                check_groups(self.optim_wrapper.optimizer, checkpoint['optimizer'])
        return checkpoint

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """As MMEngine's, but the file appears when it is complete, and the one it replaces stays until then."""
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        draft = f'.{filename}.partial'
        super().save_checkpoint(out_dir, draft, *args, **kwargs)
        os.replace(Path(out_dir, draft), Path(out_dir, filename))
