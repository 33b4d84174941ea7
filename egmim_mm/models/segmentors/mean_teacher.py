import copy
import math
from typing import Any

import torch
from mmseg.models import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.batch_augmentation import sample_seeds
from egmim_mm.registry import MODELS

from ..edge_guidance import EdgePrior
from ..terms.teachers import copy_weights, freeze
from .class_thresholds import ClassThresholds
from .pseudo_labels import boundary_weights, class_pixels, of_present_classes, pseudo_label_loss
from .strong_views import StrongViews

__all__ = ['MeanTeacherSegmentor']

_PARTS = ('student', 'teacher')


@MODELS.register_module()
class MeanTeacherSegmentor(BaseSegmentor):
    """Any segmentor of MMSegmentation, trained on labelled and unlabelled images at once.

    The student learns from the labels as it would alone. Of unlabelled images the teacher, an average of the student
    over the steps (Tarvainen & Valpola, NeurIPS 2017), labels the weak view, which is what the loader gives; where it
    is sure, the student has to find the same in a strong view (FixMatch, Sohn et al., NeurIPS 2020; for segmentation
    UniMatch, Yang et al., CVPR 2023). Batches of both kinds come from :class:`~egmim_mm.datasets.
    MixedLabelBudgetSampler`; :class:`~egmim_mm.engine.hooks.MeanTeacherHook` belongs to it.

    The config is that of the student with these settings added, so that everything that reads ``model.backbone`` or
    ``model.decode_head`` goes on to. Checkpoints hold ``student.`` and ``teacher.``; one of the student alone, such as
    that of a supervised run, gives both their weights.

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
        predict_with: ``teacher`` or ``student``.
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
                 predict_with: str = 'teacher',
                 data_preprocessor: dict | nn.Module | None = None,
                 init_cfg: dict | None = None,
                 **segmentor: Any) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f'model.threshold is {threshold}: a probability above 0 and below 1, such as 0.95')
        if not 0 < weight <= 1:
            raise ValueError(f'model.weight of the unlabelled loss is {weight}: above 0 and at most 1')
        if not 0 <= ramp_up <= 1 or not 0 <= momentum < 1:
            raise ValueError(f'model.ramp_up={ramp_up} must be a share of the run, in 0..1, and momentum={momentum} in '
                             '[0, 1)')
        if predict_with not in _PARTS:
            raise ValueError(f"model.predict_with must be 'teacher' or 'student', got {predict_with!r}")
        super().__init__(data_preprocessor=data_preprocessor)
        if getattr(self.data_preprocessor, 'augmentation', None) is not None:
            raise ValueError('model.data_preprocessor.augmentation would mix labelled with unlabelled images: leave it '
                             'out; flips and turns stand in the pipeline, colours and mixtures in model.strong')
        self.student = MODELS.build(dict(segmentor, type=student, init_cfg=init_cfg))
        self.out_channels, self.align_corners = self.student.out_channels, self.student.align_corners
        if self.out_channels < 2:
            raise ValueError('MeanTeacherSegmentor needs one output for each class, and the student has one for both: '
                             'leave out_channels of its heads out')
        self.teacher = freeze(copy.deepcopy(self.student))  # buffers, which no optimizer has
        self.threshold, self.weight, self.ramp_up, self.momentum = threshold, weight, ramp_up, momentum
        self.predict_with, self.strong = predict_with, StrongViews(**(strong or {}))
        options = dict(edge_trust or {})
        self.width = options.pop('width', 2)
        if not isinstance(self.width, int) or self.width < 1:
            raise ValueError(f'model.edge_trust.width is {self.width!r}: whole px, 1 or more')
        self.edge_prior = None if edge_trust is None else EdgePrior(**options)
        self.class_thresholds = ClassThresholds(threshold, self.out_channels) if adaptive else None
        self.classes: tuple[str, ...] = tuple(map(str, range(self.out_channels)))  # their names in the log
        self.iteration = self.max_iters = None

    @property
    def predictor(self) -> nn.Module:
        """The segmentor that predicts."""
        return getattr(self, self.predict_with)

    @property
    def backbone(self) -> nn.Module:
        """Of the student: what is trained, frozen or compiled."""
        return self.student.backbone

    @property
    def decode_head(self) -> nn.Module:
        return self.student.decode_head

    @property
    def auxiliary_head(self) -> nn.Module | None:
        return getattr(self.student, 'auxiliary_head', None)

    def init_weights(self) -> None:
        """Those of the student, which the teacher takes over."""
        self.student.init_weights()
        copy_weights(self.teacher, self.student)

    def train(self, mode: bool = True) -> 'MeanTeacherSegmentor':
        """The teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def set_iteration(self, iteration: int, max_iters: int) -> None:
        """Where training stands: steps done, and steps in all."""
        self.iteration, self.max_iters = iteration, max_iters

    def update_teacher(self) -> None:
        """Move the average towards the student, once after each step of the optimizer."""
        copy_weights(self.teacher, self.student, min(self.momentum, 1 - 1 / (self.iteration + 1)))

    def deployed(self) -> nn.Module:
        """The segmentor that predicts, with the data preprocessor, as a model of its own."""
        network = self.predictor
        network.data_preprocessor = self.data_preprocessor
        return network

    def extract_feat(self, inputs: Tensor) -> Any:
        return self.predictor.extract_feat(inputs)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        return self.predictor.encode_decode(inputs, batch_img_metas)

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """As the segmentor that predicts."""
        return self.predictor.predict(inputs, data_samples)

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.predictor(inputs, data_samples, mode='tensor')

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
        flags = [sample.metainfo.get('unlabelled', False) for sample in data_samples]
        if all(flags) or not any(flags):
            raise ValueError(f'the batch has no {"labelled" if all(flags) else "unlabelled"} image: set '
                             "train_dataloader.sampler.type='egmim_mm.MixedLabelBudgetSampler'")
        labelled, unlabelled = ([place for place, flag in enumerate(flags) if flag == kind] for kind in (False, True))
        losses = self.student.loss(inputs[labelled], [data_samples[place] for place in labelled])
        return losses | self._consistency(inputs[unlabelled], [data_samples[place] for place in unlabelled])

    def _consistency(self, images: Tensor, samples: list[SegDataSample]) -> dict[str, Tensor]:
        seeds, valid = sample_seeds(samples), _valid(samples, images)
        mean, std = (getattr(self.data_preprocessor, name, neutral) for name, neutral in (('mean', 0), ('std', 1)))
        raw = images * std + mean
        with torch.no_grad():
            labels, weights = of_present_classes(*self.pseudo_labels(images, raw, valid), samples)
            top_class = class_pixels(labels, valid, self.out_channels).max() / valid.sum().clamp(min=1)
            strong = (self.strong.recolored(raw, seeds) - mean) / std
            # a class that is not accepted is not copied
            _, strong, labels, weights, valid = self.strong.mixed(
                seeds, torch.where(weights > 0, labels, 255), strong, labels, weights, valid)
        logits = self._logits(self.student, strong)
        weight = self._ramped()
        with torch.no_grad():
            accepted, count = (weights > 0) & valid, valid.sum().clamp(min=1)
            by_class = class_pixels(labels, accepted, self.out_channels) / accepted.sum().clamp(min=1)
            same = ((logits.argmax(1, keepdim=True) == labels) & valid).sum() / count
        return dict(loss_unlabelled=weight * pseudo_label_loss(logits, labels, weights, valid), top_class=top_class,
                    unlabelled_weight=images.new_tensor(weight), accepted=accepted.sum() / count, agreement=same,
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
        probability, labels = self._logits(self.teacher, images).float().softmax(1).max(1, keepdim=True)
        least: float | Tensor = self.threshold
        if self.class_thresholds is not None:
            self.class_thresholds.update(probability, labels, valid)
            least = self.class_thresholds()[labels]
        weights = ((probability >= least) & valid).float()
        if self.edge_prior is not None:
            edge = self.edge_prior((raw.float() / 255).clamp(0, 1), valid)
            weights = weights * boundary_weights(labels, edge, self.width)
        return labels, weights

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """(B, K, H, W)."""
        logits = network(images, mode='tensor')
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=self.align_corners)

    def _ramped(self) -> float:
        done = min(1.0, self.iteration / max(self.ramp_up * self.max_iters, 1e-9))
        return self.weight * math.exp(-5 * (1 - done)**2)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        own = [key for key in state_dict if key.startswith(prefix)]
        if own and not any(key.startswith(tuple(f'{prefix}{part}.' for part in _PARTS)) for key in own):
            for key in own:  # of a segmentor alone
                value, name = state_dict.pop(key), key[len(prefix):]
                state_dict.update({f'{prefix}{part}.{name}': value for part in _PARTS})
        super()._load_from_state_dict(state_dict, prefix, *args)


def _valid(samples: list[SegDataSample], images: Tensor) -> Tensor:
    """(B, 1, H, W) bool: pixels that hold data."""
    full = torch.ones_like(images[0, :1], dtype=torch.bool)
    return torch.stack([sample.valid.data if 'valid' in sample else full for sample in samples])
