from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.models import EncoderDecoder
from torch import Tensor, nn

from egmim_mm.readout.pixel_filters import PER_BAND, filtered_maps
from egmim_mm.registry import MODELS


class PixelFeatures(nn.Module):
    """:func:`~egmim_mm.readout.pixel_filters.filtered_maps` of images that are shrunk by ``scale``, in (0, 1]."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, images: Tensor, size: Sequence[int]) -> Tensor:
        """(B, C, H, W) -> (B, PER_BAND * C, h, w) of size (h, w)."""
        return filtered_maps(images, self.scale, size)


@MODELS.register_module()
class FittedEncoderDecoder(EncoderDecoder):
    """MMSegmentation's EncoderDecoder, whose heads take ``in_channels`` from the backbone where the config has none.

    So one line, ``model.backbone.arch``, changes the backbone. The heads' ``in_index`` counts the stages that the
    backbone returns. Behind a neck, or a backbone without ``num_features``, write ``in_channels`` as usual.

    Args:
        backbone: Its config.
        pixel_features: ``dict(scale=S)``: hand-made features of the normalised image, shrunk by S in (0, 1], follow the
            maps of the backbone as one more, of the size of the first; see
            :func:`~egmim_mm.readout.pixel_filters.filtered_maps`. None: no such map.
        kwargs: Of MMSegmentation's EncoderDecoder.

    Raises:
        ValueError: ``in_channels`` of the config differs from the backbone's, or is missing where it cannot be derived;
            or ``pixel_features`` are something else.
    """

    def __init__(self, backbone: dict, pixel_features: dict | None = None, **kwargs: Any) -> None:
        scale = None if pixel_features is None else pixel_features.get('scale')
        if pixel_features is not None and (set(pixel_features) != {'scale'} or not isinstance(scale, (int, float))
                                           or not 0 < scale <= 1):
            raise ValueError(f'model.pixel_features is {dict(pixel_features)}: give dict(scale=S), S in (0, 1], such '
                             'as dict(scale=0.5)')
        self._pixel_channels = [] if scale is None else [PER_BAND * backbone.get('in_channels', 3)]
        super().__init__(backbone, **kwargs)
        self.pixel_features = None if scale is None else PixelFeatures(scale)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) normalised images -> the maps of the backbone (or neck), and of ``pixel_features``, if any."""
        maps = super().extract_feat(inputs)
        if self.pixel_features is None:
            return maps
        return *maps, self.pixel_features(inputs, maps[0].shape[2:])

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
        channels = None if self.with_neck else _returned_channels(self.backbone, self._pixel_channels)
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


def _returned_channels(backbone: nn.Module, more: list[int]) -> list[int] | None:
    widths = getattr(backbone, 'num_features', None)
    return [*(widths[i] for i in backbone.out_indices), *more] if isinstance(widths, (list, tuple)) else None
