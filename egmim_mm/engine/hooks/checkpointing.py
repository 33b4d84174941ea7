import os
import shutil
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, counting iterations, with three guarantees.

    * Weights that hold NaN or infinity are not saved (the checkpoint before stays the last).
    * ``last.pth`` in the work dir always is the newest complete checkpoint; it is replaced atomically.
    * The checkpoint knows its lineage: ``meta['lineage']`` lists the runs its weights went through.

    At least two checkpoints are kept, because MMEngine removes an old one before it writes the new one.

    Args:
        interval: Iterations between checkpoints; -1: none but the last.
        by_epoch: Whether ``interval`` counts epochs.
        max_keep_ckpts: How many are kept, 2 or more; -1: all.
        kwargs: Arguments of MMEngine's ``CheckpointHook``.
    """

    def __init__(self, interval: int = -1, by_epoch: bool = False, max_keep_ckpts: int = 2, **kwargs) -> None:
        if 0 < max_keep_ckpts < 2:
            raise ValueError('max_keep_ckpts must be at least 2 (or -1 = all): one alone could be lost in a crash')
        super().__init__(interval=interval, by_epoch=by_epoch, max_keep_ckpts=max_keep_ckpts, **kwargs)
        self._resumed_source: dict = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        # a resumed run is started without --backbone: where its weights came from stands in its checkpoint
        lineage = (checkpoint.get('meta') or {}).get('lineage')
        if runner._resume and lineage:
            self._resumed_source = dict(lineage=lineage[:-1], sha256=lineage[-1]['source'])

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        source = self._resumed_source or runner.cfg.get('backbone_source') or {}
        step = dict(experiment=runner.experiment_name, config=runner.cfg.filename and Path(runner.cfg.filename).name,
                    iterations=runner.iter + 1, seed=runner.seed, source=source.get('sha256'))
        checkpoint['meta']['lineage'] = [dict(s) for s in source.get('lineage', [])] + [step]

    def _save_checkpoint(self, runner: Runner) -> None:
        spoiled = [name for name, p in runner.model.named_parameters() if not torch.isfinite(p).all()]
        if spoiled:
            raise FloatingPointError(
                f'{len(spoiled)} parameters (first: {spoiled[0]}) hold NaN or infinity after iteration '
                f'{runner.iter + 1}; nothing was saved, the checkpoint before is the last good one. '
                'Lower the learning rate or train without --amp, then go on with --resume.')
        super()._save_checkpoint(runner)
        if is_main_process():
            update_last(Path(runner.message_hub.get_info('last_ckpt')))


def update_last(checkpoint: Path) -> Path:
    """Make ``last.pth`` beside ``checkpoint`` point to it, atomically; a copy where links are impossible."""
    last = checkpoint.with_name('last.pth')
    temporary = checkpoint.with_name('.last.pth.new')
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(checkpoint.name)
    except OSError:
        shutil.copyfile(checkpoint, temporary)
    os.replace(temporary, last)
    return last
