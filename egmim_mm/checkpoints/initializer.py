from mmengine.logging import print_log
from torch import nn

from egmim_mm.registry import WEIGHT_INITIALIZERS

from .loading import load_backbone


@WEIGHT_INITIALIZERS.register_module()
class BridgedCheckpoint:
    """``init_cfg`` of a backbone: weights of another run or phase, checked key by key.

    Example: ``init_cfg=dict(type='egmim_mm.BridgedCheckpoint', source='work_dirs/egmim_dapt_vaihingen')``.

    Args:
        source: Checkpoint file, work dir or URL.
        allow_partial: Accept weights of which less than 99 % fits; see :func:`load_backbone`.
        trust: Unpickle everything in the file. It can run code of its author.
    """

    def __init__(self, source: str, allow_partial: bool = False, trust: bool = False) -> None:
        self.source = source
        self.allow_partial = allow_partial
        self.trust = trust

    def __call__(self, module: nn.Module) -> None:
        report = load_backbone(module, self.source, self.allow_partial, self.trust)
        print_log(str(report), logger='current')
