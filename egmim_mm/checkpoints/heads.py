"""Heads of another pretraining run, for a run that starts from its backbone."""
from mmengine.logging import print_log
from torch import Tensor, nn

from egmim_mm.registry import WEIGHT_INITIALIZERS

from .reading import read_checkpoint
from .sources import resolve_source

__all__ = ['CarriedHeads']


@WEIGHT_INITIALIZERS.register_module()
class CarriedHeads:
    """``init_cfg`` of EGMIM: the heads of its loss terms, from a checkpoint of EGMIM or SimMIM of this package.

    A random pixel head on pretrained features has large gradients in the first steps, which move the backbone away
    from what it has learned. A head is taken whole or not at all; what became of each stands in the log. With
    ``backbone.encode='visible'`` heads read the decoder, so they are taken together with it.

    Args:
        source: Checkpoint file, work dir or URL.
        trust: See :func:`~egmim_mm.checkpoints.reading.read_checkpoint`.
    """

    def __init__(self, source: str, trust: bool = False) -> None:
        self.source, self.trust = source, trust

    def __call__(self, module: nn.Module) -> None:
        path = resolve_source(self.source)
        checkpoint = read_checkpoint(path, self.trust)
        weights = checkpoint.get('state_dict')
        weights = weights if isinstance(weights, dict) else {}
        heads = {name: term.head for name, term in module.terms.items() if isinstance(getattr(term, 'head', None),
                                                                                      nn.Module)}
        decoder = getattr(module, 'decoder', None)
        if decoder is not None:
            why = _take(decoder, weights, 'decoder.')
            if why:
                print_log(f'Heads: they start anew, and so does the decoder that they read: {path} {why}',
                          logger='current')
                return
        for name, head in heads.items():
            why = _take(head, weights, f'terms.{name}.head.')
            print_log(f'Head of the term {name}: ' + (f'starts anew, {path} {why}' if why else f'carried over from '
                                                      f'{path}'), logger='current')


def _take(part: nn.Module, weights: dict[str, Tensor], prefix: str) -> str | None:
    """Copy the weights under a prefix into a part of a model; None, or why this cannot be done."""
    own = part.state_dict()
    found = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    if not found:
        return 'holds none'
    if found.keys() != own.keys() or any(found[key].shape != own[key].shape for key in own):
        return 'holds one of another shape'
    if not all(value.isfinite().all() for value in found.values()):
        return 'holds one with NaN or infinity'
    part.load_state_dict(found)
    return None
