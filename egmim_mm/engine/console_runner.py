"""MMEngine's Runner as a person at the console wants it."""
import logging

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner

from egmim_mm.checkpoints import CheckpointError
from egmim_mm.checkpoints.mmengine_loading import load_weights_only

_TO_FILE_ONLY = ('Config:\n', '\n' + '-' * 60, 'Hooks will be executed', 'paramwise_options',
                 '"FileClient" will be', '"HardDiskBackend" is')


class ConsoleRunner(Runner):
    """MMEngine's Runner, with the dumps of environment, config and hooks kept to the log file.

    It reads checkpoints without running code in them, unless the config has ``trust_checkpoint=True``.
    """

    def __init__(self, *args, cfg: Config | None = None, **kwargs) -> None:
        load_weights_only(trust=bool((cfg or {}).get('trust_checkpoint', False)))
        super().__init__(*args, cfg=cfg, **kwargs)

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: not record.getMessage().startswith(_TO_FILE_ONLY))
        return logger

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
            _check_resumable(filename, checkpoint)
        return checkpoint


def _check_resumable(filename: str, checkpoint: dict) -> None:
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys() or 'message_hub' not in checkpoint:
        raise CheckpointError(f'{filename} is not the checkpoint of a run that can go on: it holds weights only. '
                              'To start a new run from them, use --backbone')
    # MMEngine would execute this text as a config file, only to look for a key that no config has
    meta.pop('config', None)
