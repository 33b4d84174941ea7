"""MMSegmentation's UPerHead and FCNHead with the same parameters and values; nothing in a step waits for the GPU."""
import torch
from mmseg.models.decode_heads import FCNHead as StockFCNHead
from mmseg.models.decode_heads import UPerHead as StockUPerHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS

__all__ = ['FCNHead', 'UPerHead', 'pixel_accuracy']


def pixel_accuracy(logits: Tensor, labels: Tensor, ignore_index: int | None = 255) -> Tensor:
    """Share of the labelled pixels whose class has the largest logit, in percent; 100 without a labelled pixel.

    MMSegmentation's picks the labelled pixels by a boolean index, for which the device has to be waited for.

    Args:
        logits: (N, K, H, W).
        labels: (N, H, W) int64, classes and ``ignore_index``.
        ignore_index: Label of the pixels that do not count; None = all count.

    Returns:
        (1, ) float32.
    """
    labelled = torch.ones_like(labels, dtype=torch.bool) if ignore_index is None else labels != ignore_index
    right = (logits.argmax(1) == labels) & labelled
    right, count = (pixels.sum().float() + torch.finfo(torch.float32).eps for pixels in (right, labelled))
    return (100 * right / count).view(1)


class _Losses:
    """The ``loss_by_feat`` of MMSegmentation's heads, with :func:`pixel_accuracy`."""

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses by their ``loss_name`` and ``acc_seg``, of logits (N, K, h, w) of any size."""
        labels = self._stack_batch_gt(batch_data_samples)  # (N, 1, H, W)
        logits = _resized(seg_logits, labels, self.align_corners)
        weight = self.sampler.sample(logits, labels) if self.sampler else None
        labels = labels.squeeze(1)
        values: dict[str, Tensor] = {}
        for loss in self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]:
            value = loss(logits, labels, weight=weight, ignore_index=self.ignore_index)
            values[loss.loss_name] = values[loss.loss_name] + value if loss.loss_name in values else value
        values['acc_seg'] = pixel_accuracy(logits.detach(), labels, self.ignore_index)
        return values


@MODELS.register_module()
class FCNHead(_Losses, StockFCNHead):
    """MMSegmentation's FCNHead without its host reads."""


@MODELS.register_module()
class UPerHead(_Losses, StockUPerHead):
    """MMSegmentation's UPerHead without its host reads, and with channels last in memory from beginning to end.

    The convolutions and resizings are faster on it, on CPUs as on GPUs. The features of our backbones come like that.
    """

    def psp_forward(self, inputs: list[Tensor]) -> Tensor:
        """Pyramid pooling of the last map."""
        x = inputs[-1]
        pyramid = torch.cat([x, *self.psp_modules(x)], 1)
        # a map of one pixel has no order of channels, and the maps that are resized from it would be the wrong way
        return self.bottleneck(pyramid.contiguous(memory_format=torch.channels_last))

    def _forward_feature(self, inputs: list[Tensor]) -> Tensor:
        maps = self._transform_inputs(inputs)
        maps = [conv(x) for conv, x in zip(self.lateral_convs, maps)] + [self.psp_forward(maps)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + _resized(maps[i], maps[i - 1], self.align_corners)
        maps = [conv(x) for conv, x in zip(self.fpn_convs, maps)] + maps[-1:]
        maps[1:] = [_resized(x, maps[0], self.align_corners) for x in maps[1:]]
        return self.fpn_bottleneck(torch.cat([_WholeGradient.apply(x) if x.requires_grad else x for x in maps], 1))


class _WholeGradient(torch.autograd.Function):
    """Copies the gradient, which is a part of that of all maps, into memory of its own.

    The gradient of ``upsample_bilinear2d`` takes 20 times as long for such a part (torch 2.11, CPU).
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.format = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else \
            torch.contiguous_format
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=ctx.format)


def _resized(x: Tensor, like: Tensor, align_corners: bool) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=align_corners)
