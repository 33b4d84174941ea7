"""A config on the machine that is there: with or without a GPU, one process or several."""

import torch
from mmengine.config import Config
from mmengine.logging import print_log


def adapt_to_device(cfg: Config, launcher: str = 'none', amp: bool = False) -> None:
    """Make a config run on what is there. Without a GPU: gloo, no SyncBN, full precision."""
    cfg.launcher = launcher
    if amp and cfg.get('optim_wrapper'):
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('dtype', 'bfloat16')
    wrapper = cfg.get('optim_wrapper')
    if wrapper and wrapper.type == 'AmpOptimWrapper' and not torch.cuda.is_available():
        print_log('No GPU: mixed precision is off, training in float32', logger='current')
        wrapper.type = 'OptimWrapper'
    if wrapper and wrapper.type == 'OptimWrapper':
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            wrapper.pop(key, None)
    if torch.cuda.is_available():
        return
    _replace_type(cfg._cfg_dict, 'SyncBN', 'BN')
    if launcher != 'none':
        cfg.env_cfg.dist_cfg = dict(backend='gloo')
        # DDP must not be handed a device id
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
        if not torch.distributed.is_initialized():
            # MMEngine's launcher would call torch.cuda.set_device; it leaves a ready process group alone
            torch.distributed.init_process_group('gloo')


def _replace_type(node, old: str, new: str) -> None:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    if isinstance(node, dict) and node.get('type') == old:
        node['type'] = new
    for value in values:
        _replace_type(value, old, new)
