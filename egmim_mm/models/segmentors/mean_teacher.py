import math
from collections.abc import Sequence
from typing import Any

import torch
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.batch_augmentation import sample_seeds
from egmim_mm.registry import MODELS

from ..edge_guidance import EdgePrior
from ..terms.teachers import copy_weights
from .class_thresholds import ClassThresholds
from .feature_dropout import decoded, without_channels
from .guide import Guide
from .mixed_samples import both_kinds, mean_pixels, valid_pixels
from .pseudo_labels import boundary_weights, class_pixels, of_present_classes, pseudo_label_loss
from .setting_ranges import check_ranges
from .strong_views import StrongViews
from .student_and_teacher import StudentAndTeacher

__all__ = ['MeanTeacherSegmentor']


@MODELS.register_module()
class MeanTeacherSegmentor(StudentAndTeacher):
    """Any segmentor of MMSegmentation, trained on labelled and unlabelled images at once.

    The student learns from the labels as it would alone. Of unlabelled images the teacher, an average of the student
    over the steps (Tarvainen & Valpola, NeurIPS 2017), labels the weak view, which is what the loader gives; where it
    is sure, the student has to find the same in a strong view (FixMatch, Sohn et al., NeurIPS 2020; for segmentation
    UniMatch, Yang et al., CVPR 2023). Batches of both kinds come from :class:`~egmim_mm.datasets.
    MixedLabelBudgetSampler`; :class:`~egmim_mm.engine.hooks.MeanTeacherHook` belongs to it.

    The config is that of the student with these settings added, so that everything that reads ``model.backbone`` or
    ``model.decode_head`` goes on to. What checkpoints hold, see :class:`~egmim_mm.models.segmentors.
    student_and_teacher.StudentAndTeacher`.

    Args:
        student: ``type`` of the student.
        threshold: Least probability of a pseudo-label that counts, in (0, 1).
        weight: Factor of the unlabelled loss at the end of the ramp, above 0 and at most 1.
        ramp_up: Share of the run over which the factor grows, as exp(-5 (1 - t)^2); 0: none.
        momentum: Of the average, in [0, 1); in step n at most 1 - 1 / (n + 1), so that random weights are forgotten.
        adaptive: Multiply the threshold of each class by its mean confidence, as a share of that of the surest class,
            see :class:`~egmim_mm.models.segmentors.class_thresholds.ClassThresholds`: rare classes count sooner.
        strong: Options of :class:`~egmim_mm.models.segmentors.strong_views.StrongViews`.
        edge_trust: Options of :class:`EdgePrior`, and ``width``, px (2): pseudo-labels that near another class count as
            much as there is an edge in the image. None: all alike.
        feature_dropout: Probability of a channel to be dropped from the student's features of the weak view, from which
            it has to find the pseudo-labels as well, such as 0.5 (UniMatch); the unlabelled loss is then the mean of
            that on the strong view and of this one. None: the strong view alone.
        guide: Options of :class:`~egmim_mm.models.segmentors.guide.Guide`, ``readout`` and ``until``: a read-out labels
            before the teacher does. None: the teacher from the first step.
        predict_with: ``teacher`` or ``student``, or ``auto``: which of them is better in the last validation of the
            training, on images that are not those of the test; without such a validation the teacher.
        data_preprocessor: Of both; without ``augmentation``.
        init_cfg: Of the student.
        segmentor: The settings of the student: ``backbone``, ``decode_head``, ...

    Raises:
        ValueError: A setting out of its range, a student with one output, or ``data_preprocessor.augmentation``.
    """

    def __init__(self,
                 student: str = 'egmim_mm.FittedEncoderDecoder',
                 threshold: float = 0.95,
                 weight: float = 1.0,
                 ramp_up: float = 0.1,
                 momentum: float = 0.996,
                 adaptive: bool = False,
                 strong: dict | None = None,
                 edge_trust: dict | None = None,
                 feature_dropout: float | None = None,
                 guide: dict | None = None,
                 predict_with: str = 'auto',
                 data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: dict | None = None,
                 **segmentor: Any) -> None:
        check_ranges(threshold, weight, ramp_up, momentum, feature_dropout)
        super().__init__(dict(segmentor, type=student, init_cfg=init_cfg), predict_with, data_preprocessor)
        if getattr(self.data_preprocessor, 'augmentation', None) is not None:
            raise ValueError('model.data_preprocessor.augmentation would mix labelled with unlabelled images: leave it '
                             'out; flips and turns stand in the pipeline, colours and mixtures in model.strong')
        self.threshold, self.weight, self.ramp_up, self.momentum = threshold, weight, ramp_up, momentum
        self.strong = StrongViews(**(strong or {}))
        options = dict(edge_trust or {})
        self.width = options.pop('width', 2)
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f'model.edge_trust.width is {self.width!r}: whole px, 1 or more')
        self.edge_prior = None if edge_trust is None else EdgePrior(**options)
        self.class_thresholds = ClassThresholds(threshold, self.out_channels) if adaptive else None
        self.classes: tuple[str, ...] = tuple(map(str, range(self.out_channels)))  # their names in the log
        self.feature_dropout = feature_dropout
        self.guide = None if guide is None else Guide(student=segmentor, data_preprocessor=data_preprocessor, **guide)
        self.iteration = self.max_iters = None
        self._pixels: Tensor | None = None  # unlabelled ones of a part of this step, the mean of all parts

    def set_iteration(self, iteration: int, max_iters: int) -> None:
        """Where training stands: steps done, and steps in all."""
        self.iteration, self.max_iters = iteration, max_iters

    def update_teacher(self) -> None:
        """Move the averages, of the student and for the thresholds, once after each step of the optimizer."""
        copy_weights(self.teacher, self.student, min(self.momentum, 1 - 1 / (self.iteration + 1)))
        if self.class_thresholds is not None:
            self.class_thresholds.update()
        self._pixels = None

    def look_ahead(self, parts: Sequence[dict]) -> None:
        """What has to be known of all parts of a step before the first: how many unlabelled pixels they hold.

        Args:
            parts: Arguments of :meth:`loss`.
        """
        self._pixels = mean_pixels([
            valid_pixels([part['data_samples'][place] for place in both_kinds(part['data_samples'])[1]], part['inputs'])
            for part in parts])

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Losses of a batch of both kinds.

        Args:
            inputs: (B, C, H, W) normalised.
            data_samples: B samples, ``unlabelled`` in the meta data of some; with ``valid``, (1, H, W) bool, if padded.

        Returns:
            The student's losses on the labelled images, ``loss_unlabelled``, and for the log ``unlabelled_weight``,
            ``accepted`` (share of the valid pixels), ``agreement`` of student and teacher (on all), ``top_class``
            (share of the class that the teacher predicts most) and for each class ``accepted_<name>`` (its share of the
            accepted pixels).

        Raises:
            ValueError: A batch of one kind alone.
            RuntimeError: No :meth:`set_iteration` before.
        """
        if self.iteration is None:
            raise RuntimeError('MeanTeacherSegmentor does not know how far training is: add '
                               "dict(type='egmim_mm.MeanTeacherHook') to custom_hooks")
        labelled, unlabelled = both_kinds(data_samples)
        losses = self.student.loss(inputs[labelled], [data_samples[place] for place in labelled])
        return losses | self._consistency(inputs[unlabelled], [data_samples[place] for place in unlabelled])

    def _consistency(self, images: Tensor, samples: list[SegDataSample]) -> dict[str, Tensor]:
        seeds, valid = sample_seeds(samples), valid_pixels(samples, images)
        count = mean_pixels([valid]) if self._pixels is None else self._pixels
        mean, std = (getattr(self.data_preprocessor, name, neutral) for name, neutral in (('mean', 0), ('std', 1)))
        raw = images * std + mean
        with torch.no_grad():
            labels, weights = of_present_classes(*self.pseudo_labels(images, raw, valid), samples)
            top_class = class_pixels(labels, valid, self.out_channels).max() / valid.sum().clamp(min=1)
            strong = (self.strong.recolored(raw, seeds) - mean) / std
            # a class that is not accepted is not copied
            _, strong, *mixed = self.strong.mixed(seeds, torch.where(weights > 0, labels, 255), strong, labels, weights,
                                                  valid)
        logits = self._logits(self.student, strong)
        loss, weight = pseudo_label_loss(logits, *mixed, count), self._ramped()
        if self.feature_dropout is not None:
            maps = without_channels(self.student.extract_feat(images), self.feature_dropout, seeds)
            perturbed = self._resized(decoded(self.student, maps), images)
            loss = (loss + pseudo_label_loss(perturbed, labels, weights, valid, count)) / 2
        with torch.no_grad():
            accepted = (weights > 0) & valid  # before the mixing, which may paste data over padding
            by_class = class_pixels(labels, accepted, self.out_channels) / accepted.sum().clamp(min=1)
            labels, _, valid = mixed
            same = ((logits.argmax(1, keepdim=True) == labels) & valid).sum() / count
        return dict(loss_unlabelled=weight * loss, top_class=top_class, unlabelled_weight=images.new_tensor(weight),
                    accepted=accepted.sum() / count, agreement=same,
                    **{f'accepted_{name}': share for name, share in zip(self.classes, by_class)})

    def pseudo_labels(self, images: Tensor, raw: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """What the teacher finds, and how much of it counts.

        Args:
            images: (B, C, H, W) normalised.
            raw: (B, C, H, W) the same in 0..255.
            valid: (B, 1, H, W) bool.

        Returns:
            Labels (B, 1, H, W) int64 and weights (B, 1, H, W) float32 in [0, 1].
        """
        probability, labels = self._probabilities(images).max(1, keepdim=True)
        least: float | Tensor = self.threshold
        if self.class_thresholds is not None:
            self.class_thresholds.add(probability, labels, valid)
            least = self.class_thresholds()[labels]
        weights = ((probability >= least) & valid).float()
        if self.edge_prior is not None:
            edge = self.edge_prior((raw.float() / 255).clamp(0, 1), valid)
            weights = weights * boundary_weights(labels, edge, self.width)
        return labels, weights

    def _probabilities(self, images: Tensor) -> Tensor:
        """(B, K, H, W) float32, of the teacher, or of the guide until that takes over."""
        led = 0.0 if self.guide is None else self.guide.share(self.iteration / self.max_iters)
        guided = led * self.guide(images) if led else 0.0
        return guided + (1 - led) * self._logits(self.teacher, images).float().softmax(1) if led < 1 else guided

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """(B, K, H, W)."""
        return self._resized(network(images, mode='tensor'), images)

    def _resized(self, logits: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=self.align_corners)

    def _ramped(self) -> float:
        done = min(1.0, self.iteration / max(self.ramp_up * self.max_iters, 1e-9))
        return self.weight * math.exp(-5 * (1 - done)**2)
