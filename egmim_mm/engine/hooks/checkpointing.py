import shutil
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from egmim_mm.checkpoints import run_source
from egmim_mm.evaluation.protocol import describe_batch, describe_progress
from egmim_mm.records import whole_file
from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """MMEngine's checkpoint hook, counting iterations, with four guarantees.

    * Weights that hold NaN or infinity are not saved (the checkpoint before stays the last).
    * ``last.pth`` in the work dir always is the newest complete checkpoint, and with ``save_best`` ``best.pth`` is the
      best one (by the first metric, if there are several); they are replaced atomically.
    * The checkpoint knows its lineage: ``meta['lineage']`` lists the runs its weights went through.
    * A run in a copied or moved work dir touches the checkpoints of this folder alone.

    At least two checkpoints are kept, because MMEngine removes an old one before it writes the new one.

    Args:
        interval: Iterations (or epochs) between checkpoints; -1: none but the last.
        by_epoch: Whether ``interval`` counts epochs.
        max_keep_ckpts: How many are kept, 2 or more; -1: all.
        kwargs: Arguments of MMEngine's ``CheckpointHook``, ``save_best`` among them.

    Raises:
        ValueError: ``max_keep_ckpts`` is 1.
        FloatingPointError: Weights hold NaN or infinity when they should be saved.
    """

    def __init__(self, interval: int = -1, by_epoch: bool = False, max_keep_ckpts: int = 2, **kwargs) -> None:
        if 0 < max_keep_ckpts < 2:
            raise ValueError('max_keep_ckpts must be at least 2 (or -1 = all): one alone could be lost in a crash')
        super().__init__(interval=interval, by_epoch=by_epoch, max_keep_ckpts=max_keep_ckpts, **kwargs)
        self._source: dict = {}  # what the weights of this run began as

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """On a resume, take over the lineage, and forget the paths of the folder that this one was copied from."""
        if not runner._resume:
            return
        # a resumed run is started without --backbone: where its weights came from stands in its checkpoint
        lineage = (checkpoint.get('meta') or {}).get('lineage')
        if lineage:
            self._source = dict(lineage=lineage[:-1], sha256=lineage[-1]['source'], path=lineage[-1].get('source_file'))
        if 'message_hub' in checkpoint:
            work_dir = Path(runner.work_dir)
            stay_inside(checkpoint['message_hub'], Path(self.out_dir, work_dir.name) if self.out_dir else work_dir)

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if not runner._resume:
            self._source = run_source(runner.cfg, runner._load_from) or {}
        if not self.save_best and is_main_process():  # no longer what this run declares
            Path(self.out_dir, 'best.pth').unlink(missing_ok=True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add this run to the lineage."""
        source, iteration = self._source, checkpoint['meta']['iter']
        step = dict(experiment=runner.experiment_name, config=runner.cfg.filename and Path(runner.cfg.filename).name,
                    iterations=iteration, **describe_batch(runner), **describe_progress(runner, iteration),
                    seed=runner.seed, source=source.get('sha256'),
                    source_file=source.get('path') and Path(source['path']).name)
        checkpoint['meta']['lineage'] = [dict(s) for s in source.get('lineage', [])] + [step]

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        spoiled = [name for name, p in runner.model.named_parameters() if not torch.isfinite(p).all()]
        if spoiled:
            raise FloatingPointError(
                f'{len(spoiled)} parameters (first: {spoiled[0]}) hold NaN or infinity after iteration '
                f'{meta["iter"]}; nothing was saved, the checkpoint before is the last good one. '
                'Lower the learning rate or train in full precision '
                '(--cfg-options optim_wrapper.precision=float32), then go on with --resume.')
        super()._save_checkpoint_with_step(runner, step, meta)
        if is_main_process():
            update_link(Path(self.last_ckpt), 'last.pth')

    def save_again(self, runner: Runner) -> None:
        """Write the newest checkpoint once more if it is of this iteration: something that it holds has changed."""
        newest = runner.message_hub.runtime_info.get('last_ckpt')
        if newest and Path(newest).name == self.filename_tmpl.format(runner.iter):
            self._save_checkpoint_with_step(runner, runner.iter, meta=dict(epoch=runner.epoch, iter=runner.iter))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        several = getattr(self, 'best_ckpt_path_dict', None) or {}
        best = next(iter(several.values()), None) or getattr(self, 'best_ckpt_path', None)
        if best and is_main_process():
            update_link(Path(best), 'best.pth')


def stay_inside(message_hub: dict, folder: Path) -> None:
    """Turn the paths of checkpoints in the state of a message hub into those of the same files in a folder.

    MMEngine deletes the old best checkpoint by its path. What is not in the folder is forgotten, with its score.
    """
    known = message_hub['runtime_info']
    for key in [k for k in known if k == 'last_ckpt' or k.startswith('best_ckpt')]:
        own = folder / Path(known[key] or '').name
        if own.is_file():
            known[key] = str(own)
            continue
        for lost in (key, key.replace('best_ckpt', 'best_score')):
            known.pop(lost, None)
            message_hub['resumed_keys'].pop(lost, None)


def update_link(checkpoint: Path, name: str) -> Path:
    """Make ``name`` beside ``checkpoint`` point to it, atomically; a copy where links are impossible."""
    link = checkpoint.with_name(name)
    with whole_file(link) as draft:
        try:
            draft.symlink_to(checkpoint.name)
        except OSError:
            shutil.copyfile(checkpoint, draft)
    return link
