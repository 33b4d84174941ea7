"""A config on the machine that is there: with or without a GPU, one process or several."""

import torch
from mmengine.config import Config
from mmengine.logging import print_log

from egmim_mm.precision import choose_precision

from .loaders import fit_loaders

OUR_WRAPPER = 'egmim_mm.AutocastOptimWrapper'


def adapt_to_device(cfg: Config, launcher: str = 'none', amp: bool = False) -> None:
    """Make a config run on what is there. Without a GPU: gloo and no SyncBN.

    Settles the precision and the loader workers, and logs them.

    Args:
        cfg: Changed in place. Of ``optim_wrapper`` are settled those of type :data:`OUR_WRAPPER`; MMEngine's
            AmpOptimWrapper becomes one where there is no GPU.
        launcher: As MMEngine's.
        amp: bfloat16, whatever the config says.

    Raises:
        ValueError: An unknown ``optim_wrapper.precision``.
    """
    cfg.launcher = launcher
    gpu = torch.cuda.is_available()
    if gpu:
        # float32 that is left (losses, targets) may use tensor cores
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.set_autocast_dtype('cuda', torch.bfloat16)  # what the loops' fp16=True means
    else:
        _replace_type(cfg._cfg_dict, 'SyncBN', 'BN')
        if launcher != 'none':
            _use_gloo(cfg)
    fit_loaders(cfg, gpu)
    _settle_precision(cfg, 'cuda' if gpu else 'cpu', amp)


def _settle_precision(cfg: Config, device_type: str, amp: bool) -> None:
    wrapper = cfg.get('optim_wrapper')
    if not wrapper:
        return
    if wrapper.type == 'AmpOptimWrapper' and (amp or device_type == 'cpu') or amp and wrapper.type == 'OptimWrapper':
        wrapper.type = OUR_WRAPPER
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            wrapper.pop(key, None)
    if wrapper.type != OUR_WRAPPER:
        return
    wanted = 'bfloat16' if amp else wrapper.get('precision', 'auto')
    precision, why = choose_precision(wanted, device_type)
    # 'auto' stays in the config that is saved: the run may be tested on another machine
    wrapper.precision = wanted
    if not _all_agree(precision == 'bfloat16') and precision == 'bfloat16':
        wrapper.precision, precision, why = 'float32', 'float32', 'another process is not fast in bfloat16'
    print_log(f'Precision: {precision} on the {device_type} ({why})', logger='current')
    for loop in ('val_cfg', 'test_cfg'):
        if cfg.get(loop) and cfg[loop].get('type') in ('ValLoop', 'TestLoop'):
            cfg[loop].setdefault('fp16', precision == 'bfloat16')


def _all_agree(vote: bool) -> bool:
    if not torch.distributed.is_initialized():
        return vote
    votes = torch.tensor(float(vote))
    torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MIN)
    return bool(votes)


def _use_gloo(cfg: Config) -> None:
    cfg.env_cfg = dict(cfg.get('env_cfg') or {}, dist_cfg=dict(backend='gloo'))
    # DDP must not be handed a device id
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False,
                                 find_unused_parameters=cfg.get('find_unused_parameters', False))
    if not torch.distributed.is_initialized():
        # MMEngine's launcher would call torch.cuda.set_device; it leaves a ready process group alone
        torch.distributed.init_process_group('gloo')


def _replace_type(node, old: str, new: str) -> None:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    if isinstance(node, dict) and node.get('type') == old:
        node['type'] = new
    for value in values:
        _replace_type(value, old, new)
