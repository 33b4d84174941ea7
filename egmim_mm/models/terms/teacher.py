import math
from collections.abc import Sequence

import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.edges import upsample_by_edges
from egmim_mm.registry import MODELS

from .affinity import EDGES, edges_of
from .base import LossTerm, MaskedBatch
from .teachers import TimmTeacher, copy_weights, frozen_copy


@MODELS.register_module()
class TeacherTerm(LossTerm):
    """L_teacher: from a masked image, what a teacher makes of every place of the whole one.

    The teacher is one of

    - ``ema``: an average of the student over the steps (BYOL, Grill et al., 2020; data2vec, Baevski et al., 2022),
      updated once at the beginning of every step with momentum 1 - (1 - m) (cos(pi t) + 1) / 2, t = iteration /
      max_iters;
    - ``start``: the student as it was when the run began, compared place by place;
    - ``dict(type='timm', name=..., weights=FILE)``: a network of another library, see :class:`TimmTeacher`.

    A projection of each stage of the student predicts its target: the same stage of the teacher, or its last map
    brought to the size of the stage. Per image the mean over places, weighted by their share of the kind ``on``; then
    that over stages and images. Places with pixels of no data do not count. The term is bounded, and not rescaled.

    If masks or edges are guided by a teacher (:class:`HardnessTerm`, the edge operator 'features'), it is the first of
    these terms. It then looks at all images once, before the mask is drawn, and ``every`` saves nothing.

    Args:
        teacher: See above.
        stages: Indices of the stages of the student, 0 to 3.
        on: Which places: ``masked``, ``visible`` or ``all``.
        loss: ``cosine``, 1 - cos(prediction, target), or ``smooth_l1``, averaged over the channels; ``none``: the
            teacher guides only, with stages up to the last of ``stages``.
        normalize: Of the target: ``instance``, each channel over the places of an image, so that a constant tells
            nothing; ``batch``, each channel over all places of a process's images, so that what is the same everywhere
            in an image counts; or ``layer``, each place over its channels (data2vec).
        source: Stage of the student as teacher whose map is the target of every stage; None = the same stage. A teacher
            of timm has its last map alone.
        edges: How a map of the teacher is brought to a stage that is finer: None, bilinear; ``own``, along paths that
            cross no edge (:func:`~egmim_mm.edges.upsample_by_edges`). Its controls are ``other``, ``shuffled`` and
            ``uniform``, see :class:`EdgeAffinityTerm`.
        every: The teacher looks at every so many images of a batch alone, the first and so on; its forward pass on all
            of them costs about a third of a step.
        momentum: m, for ``ema``.
        hidden_channels: Of a projection with two layers and GELU between; 0 = a linear one.
        weight: Factor of the loss.

    Raises:
        ValueError: A setting out of its range.
    """

    rescaled = False

    def __init__(self,
                 teacher: str | dict = 'ema',
                 stages: Sequence[int] = (2, 3),
                 on: str = 'masked',
                 loss: str = 'cosine',
                 normalize: str = 'instance',
                 source: int | None = None,
                 edges: str | None = None,
                 every: int = 2,
                 momentum: float = 0.996,
                 hidden_channels: int = 0,
                 weight: float = 0.5,
                 init_cfg: dict | None = None) -> None:
        super().__init__(weight, init_cfg)
        kind = teacher if isinstance(teacher, str) else teacher.get('type')
        if kind not in (('ema', 'start') if isinstance(teacher, str) else ('timm', )):
            raise ValueError("TeacherTerm: teacher must be 'ema', 'start' or dict(type='timm', name=..., "
                             f'weights=FILE), got {teacher!r}')
        for name, value, known in (('on', on, ('masked', 'visible', 'all')),
                                   ('loss', loss, ('cosine', 'smooth_l1', 'none')),
                                   ('normalize', normalize, ('instance', 'batch', 'layer')),
                                   ('source', source, (None, 0, 1, 2, 3)), ('edges', edges, (None, *EDGES))):
            if value not in known:
                raise ValueError(f'TeacherTerm: {name} must be one of {", ".join(map(str, known))}, got {value!r}')
        if not 0 <= momentum < 1 or hidden_channels < 0 or every < 1:
            raise ValueError(f'TeacherTerm: momentum={momentum} must be in [0, 1), hidden_channels={hidden_channels} '
                             f'0 or more and every={every} 1 or more')
        if not stages or not set(stages) <= {0, 1, 2, 3}:
            raise ValueError(f'TeacherTerm: stages must name some of 0, 1, 2, 3, got {tuple(stages)}')
        if kind == 'timm' and source is not None:
            raise ValueError(f'TeacherTerm: a teacher of timm has its last map alone, leave source={source} out')
        if kind != 'timm' and source is None and edges is not None:
            raise ValueError(f'TeacherTerm: edges={edges!r} brings the map of one stage to finer ones: name it, '
                             'source=2')
        self.name = f'teacher_{kind}'
        self.kind, self.on, self.loss, self.normalize = kind, on, loss, normalize
        self.last = max(stages) if source is None else source  # stage that the teacher is computed to
        self.stages = () if loss == 'none' else tuple(sorted(stages))
        self.settings = {} if isinstance(teacher, str) else {k: v for k, v in teacher.items() if k != 'type'}
        self.source, self.edges = source, edges
        self.momentum, self.hidden_channels, self.every = momentum, hidden_channels, every
        self.guides = False  # whether batch.looked is this teacher's
        self._updated: int | None = None  # iteration that the average has seen

    @property
    def loss_names(self) -> tuple[str, ...]:
        return () if self.loss == 'none' else (self.name, )

    def connect(self, backbone: nn.Module) -> None:
        if self.kind == 'timm':
            self.teacher = TimmTeacher(**self.settings, bands=backbone.patch_embed.projection.in_channels)
        else:
            if self.source not in (None, *backbone.out_indices):
                raise ValueError(f'TeacherTerm: source={self.source} is no stage that the terms read, they read '
                                 f'{tuple(backbone.out_indices)}: add it to stages')
            self.teacher = frozen_copy(backbone, self.stages if self.source is None and self.stages else (self.last, ))
        self.project = ModuleDict()
        for i in self.stages:
            entering = backbone.num_features[i]
            leaving = (self.teacher.channels if self.kind == 'timm' else
                       entering if self.source is None else backbone.num_features[self.source])
            self.project[str(i)] = nn.Linear(entering, leaving) if not self.hidden_channels else nn.Sequential(
                nn.Linear(entering, self.hidden_channels), nn.GELU(), nn.Linear(self.hidden_channels, leaving))

    def begin(self, backbone: nn.Module) -> None:
        """Take over the weights that the student has now."""
        if self.kind != 'timm':
            copy_weights(self.teacher, backbone)

    def advance(self, backbone: nn.Module, iteration: int, max_iters: int) -> None:
        """Move the average towards the student, once for every iteration."""
        if self.kind == 'ema' and iteration and iteration != self._updated:
            ramp = (math.cos(math.pi * min(1, iteration / max_iters)) + 1) / 2
            copy_weights(self.teacher, backbone, 1 - (1 - self.momentum) * ramp)
            self._updated = iteration

    def init_weights(self) -> None:
        """Those of the projection alone: the teacher gets its weights in :meth:`begin` or from a file."""
        for module in self.project.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def train(self, mode: bool = True) -> 'TeacherTerm':
        """The teacher stays in eval mode."""
        super().train(mode)
        if hasattr(self, 'teacher'):
            self.teacher.eval()
        return self

    def channels(self, stage: int) -> int:
        """Those of what :meth:`look` gives of a stage."""
        return self.teacher.channels if self.kind == 'timm' else self.teacher.num_features[stage]

    @torch.no_grad()
    def look(self, inputs: Tensor, images: Tensor) -> dict[int, Tensor]:
        """What the teacher makes of whole images.

        Args:
            inputs: (B, C, H, W) normalised.
            images: The same in [0, 1].

        Returns:
            Stage index -> (B, channels, H / 2^(i+2), W / 2^(i+2)), up to the last of the settings.
        """
        if self.kind != 'timm':
            return dict(enumerate(self.teacher.every_stage(inputs)))
        whole = self.teacher(images).float()
        return {i: _resized(whole, [side // 2**(i + 2) for side in images.shape[-2:]], None)
                for i in range(self.last + 1)}

    def predict(self, batch: MaskedBatch) -> dict[int, Tensor]:
        """Stage -> (B / every, channels of the teacher, h, w)."""
        return {i: self.project[str(i)](batch.features[i][::self.every].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                for i in self.stages}

    def losses(self, prediction: dict[int, Tensor], batch: MaskedBatch) -> dict[str, Tensor]:
        """Mean distance from the targets; 0 for an image without a place that counts."""
        if not self.stages:
            return {}
        parts = []
        for i, target in self.targets(batch).items():
            predicted, size = prediction[i].float(), target.shape[-2:]
            if self.loss == 'cosine':
                error = 1 - F.cosine_similarity(predicted, target, dim=1)
            else:
                error = F.smooth_l1_loss(predicted, target, reduction='none').mean(1)
            share = batch.data_at(size)[::self.every, 0]
            if self.on != 'all':
                hidden = batch.hidden_at(size)[::self.every, 0]
                share = share * (hidden if self.on == 'masked' else 1 - hidden)
            count = share.sum((1, 2)).clamp(min=torch.finfo(torch.float32).tiny)
            parts.append(((error * share).sum((1, 2)) / count).mean())
        return {self.name: torch.stack(parts).mean()}

    @torch.no_grad()
    def targets(self, batch: MaskedBatch) -> dict[int, Tensor]:
        """Stage -> (B / every, channels of the teacher, h, w) float32, normalised."""
        if self.guides and self.source is None and self.edges is None:
            maps = {i: batch.looked[i][::self.every] for i in self.stages}
        elif self.kind != 'timm' and self.source is None:
            maps = dict(zip(self.stages, self.teacher(batch.inputs[::self.every])))
        else:
            whole = self._whole(batch).float()
            edge = None if self.edges is None else edges_of(batch.edge, self.edges)[::self.every]
            maps = {i: _resized(whole, batch.features[i].shape[-2:], edge) for i in self.stages}
        dims = dict(instance=(2, 3), batch=(0, 2, 3), layer=(1, ))[self.normalize]
        found = {}
        for i, x in maps.items():
            variance, mean = torch.var_mean(x.float(), dims, correction=0, keepdim=True)
            found[i] = (x.float() - mean) * (variance + 1e-5).rsqrt()
        return found

    def _whole(self, batch: MaskedBatch) -> Tensor:
        """The one map that is the target of every stage."""
        if self.kind == 'timm':
            return self.teacher(batch.images[::self.every])
        if self.guides:
            return batch.looked[self.source][::self.every]
        return self.teacher(batch.inputs[::self.every])[0]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        # MMEngine only logs what is missing; a run would go on with a random teacher
        if self.kind != 'timm' and not any(key.startswith(f'{prefix}teacher.') for key in state_dict):
            raise ValueError(f'the checkpoint holds no {self.name}: it is from a run without this TeacherTerm in '
                             'model.terms. Resume without it, or start a new run from it with --backbone')
        self._updated = None
        super()._load_from_state_dict(state_dict, prefix, *args)


def _resized(whole: Tensor, size: Sequence[int], edge: Tensor | None) -> Tensor:
    if edge is not None and size[0] > whole.shape[-2]:
        return upsample_by_edges(whole, edge, tuple(size))
    return F.interpolate(whole, size=tuple(size), mode='bilinear', antialias=True)
