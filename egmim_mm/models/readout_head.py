from collections.abc import Sequence
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from egmim_mm.precision import exact_float32
from egmim_mm.registry import MODELS

__all__ = ['ReadoutHead']

_NEVER = -1e4  # score of a class that was not seen: its probability is 0 in float32


@MODELS.register_module()
class ReadoutHead(BaseDecodeHead):
    """Linear classifiers on frozen feature maps, one for each group of maps; their probabilities are averaged.

    A classifier reads the maps of its group joined at the size of the first map of the head. As a 1x1 classifier
    commutes with bilinear upsampling, each map is classified at its own resolution, and only the K scores are
    upsampled. :class:`~egmim_mm.engine.ReadoutLoop` fits the classifiers; they are saved in the checkpoint.

    Args:
        in_channels: Channels of the maps that ``in_index`` names.
        in_index: Numbers of the maps that the head gets, the finest first.
        groups: For each classifier numbers out of ``in_index``.
        num_classes: K.
        out_channels: K, or None.
        align_corners: Of the interpolation.
        ignore_index: Label of pixels that do not count.

    Attributes:
        classifiers: A linear layer for each group.
        fitted: Whether they are fitted, a bool tensor.

    Raises:
        ValueError: Groups that are empty or name other maps, or one output for two classes.
    """

    def __init__(self, in_channels: Sequence[int], in_index: Sequence[int], groups: Sequence[Sequence[int]],
                 num_classes: int, out_channels: int | None = None, align_corners: bool = False,
                 ignore_index: int = 255) -> None:
        if not isinstance(in_index, (list, tuple)) or not groups or not all(
                isinstance(group, (list, tuple)) and group and set(group) <= set(in_index) for group in groups):
            raise ValueError(f'ReadoutHead: groups={groups} must be lists of numbers out of in_index={in_index}, such '
                             'as in_index=[0, 1, 2, 3, 4] and groups=[[0, 1, 2, 3], [4]]')
        if out_channels not in (None, num_classes):
            raise ValueError(f'ReadoutHead has an output for each of the {num_classes} classes: leave out_channels='
                             f'{out_channels} out')
        super().__init__(list(in_channels), channels=1, num_classes=num_classes, out_channels=num_classes,
                         dropout_ratio=0, in_index=list(in_index), input_transform='multiple_select',
                         align_corners=align_corners, ignore_index=ignore_index, init_cfg=None,
                         loss_decode=dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))
        del self.conv_seg, self.loss_decode  # there is no other layer, and no loss
        self.groups = [[self.in_index.index(number) for number in group] for group in groups]
        self.widths = [[self.in_channels[place] for place in group] for group in self.groups]
        self.classifiers = nn.ModuleList(nn.Linear(sum(widths), num_classes) for widths in self.widths)
        self.register_buffer('fitted', torch.tensor(False))
        self._is_fitted = False  # the same, without waiting for a GPU

    @torch.no_grad()
    def set_classifiers(self, fitted: Sequence[tuple[Tensor, Tensor]], seen: Sequence[int]) -> None:
        """Take over fitted classifiers.

        Args:
            fitted: For each group weight (S, D) and bias (S, ), for features as the maps have them.
            seen: Numbers of the S classes that were seen; the others get probability 0.
        """
        for classifier, (weight, bias) in zip(self.classifiers, fitted, strict=True):
            classifier.weight.zero_()
            classifier.bias.fill_(_NEVER)
            classifier.weight[list(seen)] = weight.to(classifier.weight)
            classifier.bias[list(seen)] = bias.to(classifier.bias)
        self.fitted.fill_(True)
        self._is_fitted = True

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._is_fitted = bool(self.fitted)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, h_i, w_i) -> logarithms of the averaged probabilities, (B, K, h, w) float32."""
        maps = self._transform_inputs(inputs)
        with exact_float32(maps[0].device):  # large weights of like features cancel
            probabilities = [self._scores(number, maps).softmax(1) for number in range(len(self.groups))]
            return torch.stack(probabilities).mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()

    def _scores(self, number: int, maps: Sequence[Tensor]) -> Tensor:
        classifier, scores = self.classifiers[number], []
        for place, weight in zip(self.groups[number], classifier.weight.split(self.widths[number], 1)):
            own = F.conv2d(maps[place].float(), weight[:, :, None, None])  # (B, K, h_i, w_i)
            scores.append(F.interpolate(own, maps[0].shape[2:], mode='bilinear', align_corners=self.align_corners))
        return sum(scores) + classifier.bias.view(1, -1, 1, 1)

    def loss(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise a ValueError: a read-out is not trained by gradients."""
        raise ValueError('ReadoutHead is fitted at once, not trained by gradients: set '
                         "train_cfg=dict(_delete_=True, type='egmim_mm.ReadoutLoop')")

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: dict) -> Tensor:
        """As MMSegmentation's heads.

        Raises:
            ValueError: The classifiers are not fitted.
        """
        if not self._is_fitted:
            raise ValueError('the classifiers of ReadoutHead are not fitted: train this config with egmim_mm.'
                             'ReadoutLoop, and give the checkpoint of that training')
        return super().predict(inputs, batch_img_metas, test_cfg)
