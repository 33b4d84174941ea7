"""How a run starts: anew, from the weights of another run, or where it was interrupted."""
import logging

from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.checkpoints import declared_source, describe_source, newest_checkpoint
from egmim_mm.checks import LaunchError

from .launch import settle_learning_rate
from .resuming import checkpoint_folder, set_up_resume


def start_or_resume(cfg: Config,
                    resume: None | str | bool = None,
                    backbone: str | None = None,
                    allow_partial: bool = False,
                    trust: bool = False) -> str | None:
    """Set up one of: a new run, a new run from backbone weights, an interrupted run that goes on.

    Args:
        cfg: As it will be run, device and seed settled; changed in place.
        resume: True = the newest checkpoint of the work dir, or a checkpoint file.
        backbone: Checkpoint, work dir of another run, or URL.
        allow_partial: Accept a backbone of which less than 99 % fits.
        trust: Unpickle everything in ``resume`` and ``backbone``.

    Returns:
        One line for the user if the run is finished already, so that there is nothing to do; else None.

    Raises:
        LaunchError: Options that contradict each other, settings that a resumed run must keep have changed, the work
            dir holds a run that would be overwritten, or the model has an anchor and no weights to start from.
        CheckpointError: The weights to start from cannot be read.
    """
    if resume and backbone:
        raise LaunchError('--resume goes on with an interrupted run, --backbone starts a new one from these weights: '
                          'give one of them')
    if allow_partial and not backbone:
        raise LaunchError('--allow-partial is about --backbone, which is not given')
    cfg.trust_checkpoint = trust
    if resume:
        return set_up_resume(cfg, resume, trust)
    folder = checkpoint_folder(cfg)
    if (folder / 'last_checkpoint').exists() or newest_checkpoint(folder):
        raise LaunchError(f'{folder} holds the checkpoints of an earlier run: add --resume to go on with it, '
                          'or give another --work-dir')
    if backbone and cfg.get('load_from'):
        raise LaunchError(f'--backbone {backbone} and load_from={cfg.load_from} in the config both give the weights to '
                          'start from: give one of them')
    source = backbone or declared_source(cfg)
    if source:
        cfg.backbone_source = describe_source(source, trust)
    settle_learning_rate(cfg, from_scratch=not source)
    if backbone:
        options = dict(allow_partial=True) if allow_partial else {}
        options |= dict(trust=True) if trust else {}
        cfg.model.backbone.init_cfg = dict(
            type='egmim_mm.BridgedCheckpoint', source=cfg.backbone_source.path, **options)
        if cfg.get('carry_heads') and cfg.model.get('terms') and not cfg.model.get('init_cfg'):
            cfg.model.init_cfg = dict(type='egmim_mm.CarriedHeads', source=cfg.backbone_source.path,
                                      **(dict(trust=True) if trust else {}))
    for term in cfg.model.get('terms') or []:
        if str(term.get('type')).endswith('AnchorTerm') or term.get('teacher') == 'start':
            _check_anchor(str(term.get('type')).rpartition('.')[2], cfg.model.backbone)
    return None


def warn_of_random_features(cfg: Config) -> None:
    """Log a warning if a new run keeps random weights of the backbone as they are.

    Args:
        cfg: As :func:`start_or_resume` left it.
    """
    frozen = _frozen_setting(cfg)
    if frozen and not cfg.get('resume') and not cfg.get('backbone_source'):
        print_log(f'{frozen} keeps the backbone as it is, and its weights are random: the head learns from random '
                  'features. Give --backbone, or let it learn', logger='current', level=logging.WARNING)


def _frozen_setting(cfg: Config) -> str | None:
    """The setting that freezes the backbone, its first stages or the first part of the run; None without one."""
    if str((cfg.get('train_cfg') or {}).get('type')).endswith('ReadoutLoop'):
        return 'train_cfg.type=egmim_mm.ReadoutLoop'
    for number, hook in enumerate(cfg.get('custom_hooks') or []):
        if str(hook.get('type')).endswith('FrozenBackboneHook'):
            return f'FrozenBackboneHook (custom_hooks.{number})'
    stages = (cfg.model.get('backbone') or {}).get('frozen_stages', -1)
    if stages >= 0:
        return f'model.backbone.frozen_stages={stages}'
    rates = ((cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}).get('custom_keys') or {}
    return next((f"optim_wrapper.paramwise_cfg.custom_keys['{key}'].lr_mult=0" for key, rate in rates.items()
                 if key.startswith('backbone') and rate.get('lr_mult') == 0), None)


def _check_anchor(term: str, backbone: dict) -> None:
    starts = backbone.get('init_cfg') or []
    starts = [starts] if isinstance(starts, dict) else starts
    if not any(start.get('source') or start.get('checkpoint') for start in starts):
        raise LaunchError(f'{term} holds the backbone near the weights it starts from, and these would be random: '
                          'give --backbone (or model.backbone.init_cfg with a checkpoint), or leave it out of '
                          'model.terms')
