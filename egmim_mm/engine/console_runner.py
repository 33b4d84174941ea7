"""MMEngine's Runner as a person at the console wants it."""
import logging
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.checkpoints.mmengine_loading import load_weights_only

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

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """As MMEngine's, which forgets that accumulated iterations make one larger batch."""
        if auto_scale_lr and auto_scale_lr.get('enable'):
            base = auto_scale_lr['base_batch_size'] / optim_wrapper._accumulative_counts
            auto_scale_lr = dict(auto_scale_lr, base_batch_size=base)
        super().scale_lr(optim_wrapper, auto_scale_lr)

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
                                  f'checkpoint, or another arch or number of classes?). {error}') from error
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
