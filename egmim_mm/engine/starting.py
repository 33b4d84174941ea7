"""How a run starts: anew, from the weights of another run, or where it was interrupted."""
from pathlib import Path

from mmengine.config import Config

from egmim_mm.checkpoints import describe_source

from .errors import LaunchError


def start_or_resume(cfg: Config,
                    resume: None | str | bool = None,
                    backbone: str | None = None,
                    allow_partial: bool = False,
                    trust: bool = False) -> None:
    """Set up one of: a new run, a new run from backbone weights, an interrupted run that goes on.

    Args:
        cfg (Config): Changed in place.
        resume (str | bool, optional): True = the newest checkpoint of the work dir, or a checkpoint file.
        backbone (str, optional): Checkpoint, work dir of another run, or URL.
        allow_partial (bool): Accept a backbone of which less than 99 % fits.
        trust (bool): Unpickle everything in ``resume`` and ``backbone``.

    Raises:
        LaunchError: Both at once, the work dir holds a run that would be overwritten, or the model has an anchor
            and no weights to start from.
        CheckpointError: ``backbone`` cannot be read.
    """
    if resume and backbone:
        raise LaunchError('--resume goes on with an interrupted run, --backbone starts a new one from these weights: '
                          'give one of them')
    if allow_partial and not backbone:
        raise LaunchError('--allow-partial is about --backbone, which is not given')
    cfg.trust_checkpoint = trust
    if resume:
        cfg.resume = True
        cfg.load_from = resume if isinstance(resume, str) else None
        if cfg.load_from and not Path(cfg.load_from).is_file():
            raise LaunchError(f'--resume {resume}: no such checkpoint file')
        if not cfg.load_from and not (Path(cfg.work_dir) / 'last_checkpoint').is_file():
            raise LaunchError(f'--resume: {cfg.work_dir} holds no checkpoint to go on from. Leave --resume out to '
                              'start the run (again with --backbone, if it began so)')
        return
    if (Path(cfg.work_dir) / 'last_checkpoint').exists():
        raise LaunchError(f'{cfg.work_dir} holds the checkpoints of an earlier run: add --resume to go on with it, '
                          'or give another --work-dir')
    if backbone:
        cfg.backbone_source = describe_source(backbone, trust)
        options = dict(allow_partial=True) if allow_partial else {}
        options |= dict(trust=True) if trust else {}
        cfg.model.backbone.init_cfg = dict(
            type='egmim_mm.BridgedCheckpoint', source=cfg.backbone_source.path, **options)
    if any(str(term.get('type')).endswith('AnchorTerm') for term in cfg.model.get('terms') or []):
        _check_anchor(cfg.model.backbone)


def _check_anchor(backbone: dict) -> None:
    starts = backbone.get('init_cfg') or []
    starts = [starts] if isinstance(starts, dict) else starts
    if not any(start.get('source') or start.get('checkpoint') for start in starts):
        raise LaunchError('AnchorTerm holds the backbone near the weights it starts from, and these would be random: '
                          'give --backbone (or model.backbone.init_cfg with a checkpoint), or leave it out of '
                          'model.terms')
