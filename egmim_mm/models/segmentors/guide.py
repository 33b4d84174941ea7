"""A read-out that labels unlabelled images while a mean teacher is not worth listening to yet."""
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS

from ..terms.teachers import freeze

__all__ = ['Guide']


class Guide(nn.Module):
    """The read-out preset as the first teacher of the second stage: fitted once, before the first step, then frozen.

    A mean teacher knows at the start what its student knows, which with a handful of labelled tiles is little: below
    sixteen a read-out of the frozen backbone is the better model (docs/few_labels.md). So it labels, all the time or
    until the teacher takes over:

        p = g p_guide + (1 - g) p_teacher,   g = 1, or max(0, 1 - t / until)

    with t the share of the run that is done. That a read-out leads, and how, is this project's choice; the idea of
    pseudo-labels of a simpler model is that of self-training (Yarowsky, ACL 1995). :class:`~egmim_mm.engine.hooks.
    MeanTeacherHook` fits it to the labelled tiles with the backbone as training begins; checkpoints hold it.

    Args:
        readout: Settings of a read-out preset, ``dict(model=..., train_cfg=...)``, as they stand in ``label_presets``:
            of the model ``decode_head`` and ``pixel_features`` are used, of ``train_cfg`` what
            :class:`~egmim_mm.engine.ReadoutLoop` takes.
        until: Share of the run after which the teacher labels alone, above 0; None: the guide labels all the time.
        student: Settings of the student, whose backbone it has.
        data_preprocessor: That of the student.

    Raises:
        ValueError: ``until`` is 0 or less, or ``readout`` is no read-out preset.
    """

    def __init__(self, readout: Mapping[str, Any], student: Mapping[str, Any], data_preprocessor: Any,
                 until: float | None = None) -> None:
        super().__init__()
        if until is not None and not until > 0:
            raise ValueError(f'model.guide.until is {until}: a share of the run above 0, or None for all of it')
        if not {'model', 'train_cfg'} <= set(readout) or not str(
                readout['model'].get('decode_head', {}).get('type')).endswith('ReadoutHead'):
            raise ValueError('model.guide.readout is no read-out preset: give its settings, dict(model=..., '
                             'train_cfg=...) with a ReadoutHead, such as _base_.label_presets[0].settings')
        model = readout['model']
        head = {key: value for key, value in model['decode_head'].items() if key != '_delete_'}
        heads = student['decode_head']
        head.setdefault('num_classes', (heads[-1] if isinstance(heads, (list, tuple)) else heads)['num_classes'])
        segmentor = MODELS.build(dict(
            type='egmim_mm.FittedEncoderDecoder', pixel_features=model.get('pixel_features'), decode_head=head,
            backbone={key: value for key, value in student['backbone'].items() if key != 'init_cfg'},
            data_preprocessor=data_preprocessor, test_cfg=dict(mode='whole')))
        self.segmentor, self.until = freeze(segmentor), until
        self.settings = {key: value for key, value in readout['train_cfg'].items() if key not in ('_delete_', 'type')}

    @property
    def fitted(self) -> bool:
        """Whether its classifiers are fitted; of a resumed run they are."""
        return bool(self.segmentor.decode_head.fitted)

    def train(self, mode: bool = True) -> 'Guide':
        """It stays in eval mode."""
        return super().train(False)

    def share(self, done: float) -> float:
        """g in [0, 1] where ``done`` of the run is done."""
        return 1.0 if self.until is None else max(0.0, 1 - done / self.until)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) normalised -> probabilities (B, K, H, W) float32."""
        scores = self.segmentor(images, mode='tensor').float()
        return F.interpolate(scores, images.shape[2:], mode='bilinear', align_corners=False).softmax(1)
