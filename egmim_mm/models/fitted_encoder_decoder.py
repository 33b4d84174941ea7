from collections.abc import Mapping

from mmseg.models import EncoderDecoder
from torch import nn

from egmim_mm.registry import MODELS


@MODELS.register_module()
class FittedEncoderDecoder(EncoderDecoder):
    """MMSegmentation's EncoderDecoder, whose heads take ``in_channels`` from the backbone where the config has none.

    So one line, ``model.backbone.arch``, changes the backbone. The heads' ``in_index`` counts the stages that the
    backbone returns. Behind a neck, or a backbone without ``num_features``, write ``in_channels`` as usual.

    Raises:
        ValueError: ``in_channels`` of the config differs from the backbone's, or is missing where it cannot be derived.
    """

    def _init_decode_head(self, decode_head: dict) -> None:
        super()._init_decode_head(self._fitted(decode_head, 'decode_head'))

    def _init_auxiliary_head(self, auxiliary_head: dict | list[dict] | None) -> None:
        if isinstance(auxiliary_head, list):
            heads = [self._fitted(head, f'auxiliary_head.{i}') for i, head in enumerate(auxiliary_head)]
        else:
            heads = auxiliary_head and self._fitted(auxiliary_head, 'auxiliary_head')
        super()._init_auxiliary_head(heads)

    def _fitted(self, head: Mapping, name: str) -> dict:
        head = dict(head)
        channels = None if self.with_neck else _returned_channels(self.backbone)
        if channels is None:
            if 'in_channels' not in head:
                raise ValueError(f'model.{name}.in_channels is missing, and neither a neck nor '
                                 f'{type(self.backbone).__name__} says how many channels it returns: give it')
            return head
        index = head.get('in_index', -1)
        derived = [channels[i] for i in index] if isinstance(index, (list, tuple)) else channels[index]
        given = head.setdefault('in_channels', derived)
        if (list(given) if isinstance(given, (list, tuple)) else given) != derived:
            raise ValueError(f'model.{name}.in_channels is {given}, the backbone returns {derived}: leave in_channels '
                             'out, it follows from the backbone')
        return head


def _returned_channels(backbone: nn.Module) -> list[int] | None:
    widths = getattr(backbone, 'num_features', None)
    return [widths[i] for i in backbone.out_indices] if isinstance(widths, (list, tuple)) else None
