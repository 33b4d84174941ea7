import copy
from typing import Any

import torch
from mmseg.models import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from egmim_mm.registry import MODELS

from ..terms.teachers import copy_weights, freeze

__all__ = ['PARTS', 'StudentAndTeacher']

PARTS = ('student', 'teacher')


class StudentAndTeacher(BaseSegmentor):
    """A segmentor that is trained, the *student*, and another of its shape that is not, the *teacher*.

    One of them predicts. Checkpoints hold ``student.``, ``teacher.`` and ``student_is_better``, of which the last is
    False where it is missing; one of a segmentor alone, such as that of a supervised run, gives both their weights.

    Args:
        student: Config of the student, of which the teacher is a copy.
        predict_with: ``teacher``, ``student`` or ``auto``: the teacher until :meth:`choose` says otherwise.
        data_preprocessor: Of both.

    Raises:
        ValueError: Another ``predict_with``, or a student with one output.
    """

    def __init__(self, student: dict, predict_with: str, data_preprocessor: dict | nn.Module | None) -> None:
        if predict_with not in ('auto', *PARTS):
            raise ValueError(f"model.predict_with must be 'auto', 'teacher' or 'student', got {predict_with!r}")
        super().__init__(data_preprocessor=data_preprocessor)
        self.student = MODELS.build(student)
        self.out_channels, self.align_corners = self.student.out_channels, self.student.align_corners
        if self.out_channels < 2:
            raise ValueError(f'{type(self).__name__} needs one output for each class, and the student has one for '
                             'both: leave out_channels of its heads out')
        self.teacher = freeze(copy.deepcopy(self.student))  # buffers, which no optimizer has
        self.predict_with = predict_with
        self.register_buffer('student_is_better', torch.tensor(False))

    @property
    def chosen(self) -> str:
        """``student`` or ``teacher``: what predicts."""
        return PARTS[not self.student_is_better] if self.predict_with == 'auto' else self.predict_with

    def choose(self, part: str) -> None:
        """Let the student or the teacher predict, from now on and in checkpoints, if ``predict_with`` is ``auto``."""
        self.student_is_better.fill_(part == 'student')

    @property
    def predictor(self) -> nn.Module:
        """The segmentor that predicts."""
        return getattr(self, self.chosen)

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

    def train(self, mode: bool = True) -> 'StudentAndTeacher':
        """The teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def deployed(self) -> nn.Module:
        """The segmentor that predicts, with the data preprocessor, as a model of its own."""
        network = self.predictor
        network.data_preprocessor = self.data_preprocessor
        return network

    @torch.no_grad()
    def predictions(self, part: str, data: dict) -> list[SegDataSample]:
        """What student or teacher makes of a batch of a loader, as ``val_step`` has it of the one that predicts.

        The samples of the batch stay as they are.
        """
        data = self.data_preprocessor(dict(data, data_samples=[one.new() for one in data['data_samples']]), False)
        return getattr(self, part).predict(**data)

    def extract_feat(self, inputs: Tensor) -> Any:
        return self.predictor.extract_feat(inputs)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        return self.predictor.encode_decode(inputs, batch_img_metas)

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """As the segmentor that predicts."""
        return self.predictor.predict(inputs, data_samples)

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.predictor(inputs, data_samples, mode='tensor')

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        own = [key for key in state_dict if key.startswith(prefix)]
        if own and not any(key.startswith(tuple(f'{prefix}{part}.' for part in PARTS)) for key in own):
            for key in own:  # of a segmentor alone
                value, name = state_dict.pop(key), key[len(prefix):]
                state_dict.update({f'{prefix}{part}.{name}': value for part in PARTS})
        if own:
            state_dict.setdefault(f'{prefix}student_is_better', torch.tensor(False))
        super()._load_from_state_dict(state_dict, prefix, *args)
