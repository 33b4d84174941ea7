"""Mirror images, quarter turns, colour changes and mixtures of a whole batch, on the device where it lies."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ['BatchAugmentation', 'sample_seeds']

_GREY = np.full((3, 1), 3**-0.5)  # the axis of grey colours
_TURN = np.cross(np.eye(3), _GREY.ravel()).T  # cross product with that axis


class BatchAugmentation:
    """What ``RandomFlip``, ``RandomQuarterTurn`` and ``PhotoMetricDistortion`` do to a sample, for all samples at once.

    What happens to an image follows from the seed of its sample alone, whatever process, worker or batch it is in.
    Brightness, contrast, saturation and hue are one affine map of the colours (Karras et al., NeurIPS 2020, appendix B)
    with the ranges and probabilities of MMSegmentation's ``PhotoMetricDistortion``, which works in HSV and clips after
    each change: strong changes look different.

    Mixing comes last: an image gets pixels of the next of the batch (the last of the first) with their labels, those
    in a rectangle (CutMix, Yun et al., ICCV 2019; its share of the area is uniform in 0..1) or those of every other
    class, drawn at random (ClassMix, Olsson et al., WACV 2021), which puts the few labelled objects on other ground.
    Which sample is the next depends on what is computed together, as the statistics of BatchNorm do.

    Args:
        flip: Mirror every other image left to right.
        turn: Turn by 0, 90, 180 or 270 degrees, each with the same probability; for square images.
        color: Change the colours of three-band images.
        brightness: Largest shift of all bands, of 255.
        contrast: Range of the factor of all bands.
        saturation: Range of the factor of the distance from grey.
        hue: Largest turn around the grey axis, degrees.
        cutmix: Share of the samples that get a rectangle of the next one.
        classmix: Share of the samples that get classes of the next one; both together at most 1.

    Raises:
        ValueError: Shares of mixed samples out of range.
    """

    def __init__(self, flip: bool = True, turn: bool = True, color: bool = False, brightness: float = 32,
                 contrast: Sequence[float] = (0.5, 1.5), saturation: Sequence[float] = (0.5, 1.5),
                 hue: float = 36, cutmix: float = 0.0, classmix: float = 0.0) -> None:
        if min(cutmix, classmix) < 0 or cutmix + classmix > 1:
            raise ValueError('augmentation: cutmix and classmix are shares of the samples, 0 or more and together at '
                             f'most 1; got {cutmix} and {classmix}')
        self.flip, self.turn, self.color = flip, turn, color
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        self.cutmix, self.classmix = cutmix, classmix

    def __call__(self, images: Tensor, labels: Tensor | None, seeds: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Augment a batch.

        Args:
            images: (B, C, H, W), 0..255, of any type; bands in any order.
            labels: (B, 1, H, W) or None.
            seeds: B whole numbers.

        Returns:
            Images, float32 in 0..255 if colours change, else of the same type; and labels.

        Raises:
            ValueError: Images that are not square are to be turned, or of other than three bands to change colour, or
                images without labels to be mixed.
        """
        if labels is None and self.cutmix + self.classmix:
            raise ValueError('augmentation: cutmix and classmix are for labelled images')
        if self.turn and images.shape[-1] != images.shape[-2]:
            raise ValueError(f'augmentation: images of {images.shape[-2]} x {images.shape[-1]} px cannot be turned; '
                             'set turn=False')
        if self.color and images.shape[1] != 3:
            raise ValueError(f'augmentation: color=True is for three bands, the images have {images.shape[1]}')
        draws = [self._draw(np.random.default_rng((int(seed), 1))) for seed in seeds]
        flags = torch.from_numpy(np.array([draw[0] for draw in draws])).to(images.device, non_blocking=True)
        images = self._moved(images, flags)
        labels = labels if labels is None else self._moved(labels, flags)
        if self.color:
            maps = torch.from_numpy(np.array([draw[1] for draw in draws], np.float32))
            images = _recolored(images, maps.to(images.device, non_blocking=True))
        if self.cutmix + self.classmix:
            labels, images = self.mix(seeds, labels, images)
        return images, labels

    def mix(self, seeds: Sequence[int], labels: Tensor, *maps: Tensor, pairs: bool = False) -> list[Tensor]:
        """Give each sample pixels of the next one.

        Args:
            seeds: B whole numbers.
            labels: (B, 1, H, W), of which ``classmix`` takes classes; 255 = none.
            maps: Further maps of the same samples, (B, ..., H, W).
            pairs: The next one of the first is the second, and of that the first, and so on two by two; where their
                number is odd, that of the last is the first of all.

        Returns:
            Labels and maps, all with the same pixels of the next.
        """
        others = _of_pairs if pairs else _following
        theirs = self._taken(others(labels), [np.random.default_rng((int(seed), 2)) for seed in seeds])
        return [torch.where(theirs, others(x), x) for x in (labels, *maps)]

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(3,) bool: mirrored, turned by 90, by 180 degrees; (3, 4) map of the colours.

        The numbers of a change are drawn whether or not it is on.
        """
        flags = rng.integers(2, size=3).astype(bool) & (self.flip, self.turn, self.turn)
        applied = rng.integers(2, size=4).astype(bool)
        shift, factor, away, angle = (value if on else neutral for value, on, neutral in zip(
            (rng.uniform(-self.brightness, self.brightness), rng.uniform(*self.contrast),
             rng.uniform(*self.saturation), np.radians(rng.uniform(-self.hue, self.hue))), applied, (0, 1, 1, 0)))
        onto_grey = _GREY @ _GREY.T
        turned = np.cos(angle) * (np.eye(3) - onto_grey) + np.sin(angle) * _TURN
        return flags, factor * np.hstack([onto_grey + away * turned, np.full((3, 1), shift)])

    def _moved(self, x: Tensor, flags: Tensor) -> Tensor:
        mirrored, quarter, half = flags.view(-1, 3, 1, 1, 1).unbind(1)
        if self.flip:
            x = torch.where(mirrored, x.flip(-1), x)
        if self.turn:
            x = torch.where(quarter, torch.rot90(x, 1, (-2, -1)), x)
            x = torch.where(half, x.flip(-2, -1), x)
        return x

    def _taken(self, labels: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
        """(B, 1, H, W) labels of the next samples -> bool: what is taken from them."""
        height, width = labels.shape[-2:]
        boxes = np.zeros((len(rngs), 1, height, width), bool)
        classes = np.zeros((len(rngs), 256), bool)
        for rng, box, taken in zip(rngs, boxes[:, 0], classes):
            drawn, side, where = rng.uniform(), rng.uniform()**0.5, rng.uniform(size=2)
            half = rng.integers(2, size=255).astype(bool)
            if drawn < self.cutmix:
                (top, h), (left, w) = ((int(at * (full - round(side * full))), round(side * full))
                                       for at, full in zip(where, (height, width)))
                box[top:top + h, left:left + w] = True
            elif drawn < self.cutmix + self.classmix:
                taken[:255] = half  # never what is not labelled
        by_class = torch.from_numpy(classes).to(labels.device, non_blocking=True)
        held = by_class.gather(1, labels.flatten(1).long()).view(labels.shape)
        return held | torch.from_numpy(boxes).to(labels.device, non_blocking=True)


def _following(x: Tensor) -> Tensor:
    return x.roll(-1, 0)


def _of_pairs(x: Tensor) -> Tensor:
    paired = len(x) // 2 * 2
    return torch.cat([x[:paired].unflatten(0, (paired // 2, 2)).flip(1).flatten(0, 1), x[:len(x) - paired]])


def _recolored(images: Tensor, maps: Tensor) -> Tensor:
    """(B, 3, H, W) by (B, 3, 4) -> (B, 3, H, W) float32 in 0..255."""
    with torch.autocast(images.device.type, enabled=False):
        pixels = torch.baddbmm(maps[..., 3:], maps[..., :3], images.float().flatten(2))
    return pixels.clamp_(0, 255).view(images.shape)


def sample_seeds(data_samples: Sequence[Any] | None) -> list[int]:
    """The seeds that the data sets of this package leave in their samples.

    Raises:
        ValueError: A sample without one.
    """
    for sample in data_samples or ():
        if sample.get('sample_seed') is None:
            raise ValueError('augmentation of batches needs the seeds of samples, which the data sets and samplers of '
                             'egmim_mm give: use egmim_mm.StreamSampler or LabelBudgetSampler, or leave '
                             'data_preprocessor.augmentation out')
    return [sample.get('sample_seed') for sample in data_samples or ()]
