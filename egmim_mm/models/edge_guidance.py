"""Registered, configured forms of :func:`egmim_mm.edges.edge_prior` and :func:`egmim_mm.masking.sample_mask`."""
from inspect import signature
from math import lcm

import torch
from torch import Tensor, nn

from egmim_mm.edges import (
    edge_prior,
    feature_response,
    image_quantile,
    normalize_strength,
    operator_options,
    supported,
    supported_places,
    top_responses,
)
from egmim_mm.masking import (
    POLICIES,
    UNIFORM_POLICIES,
    check_schedule,
    default_cell_size,
    default_ratio,
    sample_mask,
    scheduled,
)
from egmim_mm.registry import MODELS

LEAST_FLOOR = 0.5 / 255  # half an 8-bit step per px
LEAST_FEATURE_FLOOR = 0.02  # features in bfloat16 that should be alike differ by less


@MODELS.register_module()
class EdgePrior(nn.Module):
    """Edge strength of a batch, computed on its device, in full precision also under autocast.

    Args:
        operator: One of ``egmim_mm.edges.OPERATORS``, or 'features': how much neighbouring features of a teacher of
            the model differ, see :func:`egmim_mm.edges.feature_response`.
        floor: Smallest response (luminance per px, luminance in [0, 1]) that may count as full strength.
            The default is half an 8-bit step: only images without any structure fall below it.
            ``tools/analyze.py edge-floor`` measures one for a folder. 'auto': :class:`EdgeFloorHook` measures it on
            the training data; it is saved with the model. Until then it is the default.
        options: Of the operator; formulas: :func:`egmim_mm.edges.edge_response`. sigma and rho are standard
            deviations of Gaussians in px.

            - ``gaussian_sobel``: ``sigma=2``
            - ``sobel``: none
            - ``scharr``: ``sigma=0``
            - ``laplacian``: ``sigma=2``
            - ``canny``: ``sigma=2``, thresholds ``low=0.1``, ``high=0.2`` as shares of the q99 of the image,
              ``rho=1`` over the edges
            - ``structure_tensor``: ``sigma=1`` before the derivatives, ``rho=3`` over their products
            - ``features``: ``stage=1``, index of the teacher's stage. The floor is a distance of features of length 1,
              by default 0.02

    Raises:
        ValueError: Unknown operator, an option it does not have, or a value out of range.
    """

    def __init__(self, operator: str = 'gaussian_sobel', floor: float | str | None = None, **options) -> None:
        super().__init__()
        self.is_measured = floor == 'auto'
        if not self.is_measured and floor is not None and (isinstance(floor, str) or not 0 <= floor < float('inf')):
            raise ValueError(f"floor = {floor!r} of the edge prior must be 0 or more, or 'auto'")
        self.operator = operator
        self.stage = None  # of the teacher whose features are compared
        if operator == 'features':
            self.stage = options.pop('stage', 1)
            if options or self.stage not in (0, 1, 2, 3):
                raise ValueError("edge operator 'features' has one option, stage = 0, 1, 2 or 3, got "
                                 f'{dict(stage=self.stage, **options)}')
        else:
            options = operator_options(operator, **options)
        self.options = options
        self._least = LEAST_FLOOR if self.stage is None else LEAST_FEATURE_FLOOR
        self._floor = self._least if floor in ('auto', None) else floor
        if self.is_measured:
            self.register_buffer('measured_floor', torch.zeros(()))  # 0 = not yet

    @property
    def floor(self) -> float:
        """The floor in use."""
        return self._floor

    def set_floor(self, floor: float) -> None:
        """Use a floor that was measured, of ``floor='auto'``; at least half an 8-bit step, 0.02 of features."""
        self._floor = max(floor, self._least)
        self.measured_floor.fill_(self._floor)
        self._floor = float(self.measured_floor)  # as a checkpoint gives it back

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        if self.is_measured:
            # models from before there was a measured floor had the default, which 0 stands for
            saved = state_dict.setdefault(f'{prefix}measured_floor', torch.zeros(()))
            self._floor = float(saved) or self._least  # here, not from the buffer, for which a GPU would wait
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, images: Tensor, valid: Tensor | None = None,
                features: dict[int, Tensor] | None = None) -> Tensor:
        """Edge strength.

        Args:
            images: (B, C, H, W) float in [0, 1], uint8 or uint16.
            valid: (B, 1, H, W) bool.
            features: Stage index -> (B, D, h, w) of a teacher, for the operator 'features'.

        Returns:
            (B, 1, H, W) in [0, 1].

        Raises:
            ValueError: No features for 'features'.
        """
        if self.stage is None:
            return edge_prior(images, self.operator, self.floor, valid, **self.options)
        return normalize_strength(self._differences(images, valid, features), self.floor,
                                  valid=None if valid is None else self.known(valid))

    def tops(self, images: Tensor, valid: Tensor | None = None, features: dict[int, Tensor] | None = None) -> Tensor:
        """(B,) q99 of the response before normalisation, from which the floor is measured; as :meth:`forward`."""
        if self.stage is None:
            return top_responses(images, self.operator, valid, **self.options)
        return image_quantile(self._differences(images, valid, features),
                              valid=None if valid is None else self.known(valid)).flatten()

    def known(self, valid: Tensor) -> Tensor:
        """(B, 1, H, W) bool pixels with data -> those whose strength depends on data alone."""
        if self.stage is None:
            return supported(valid, self.operator, **self.options)
        return supported_places(valid, 2**(self.stage + 2))

    def _differences(self, images: Tensor, valid: Tensor | None, features: dict[int, Tensor] | None) -> Tensor:
        if features is None:
            raise ValueError("edge operator 'features' needs the features of a teacher: it works in EGMIM, with a "
                             'TeacherTerm in model.terms')
        return feature_response(features[self.stage], images.shape[-2:], valid)


@MODELS.register_module()
class EdgeGuidedMaskGenerator(nn.Module):
    """Token masks of a batch, drawn on its device.

    Args:
        policy: One of ``egmim_mm.masking.POLICIES``.
        ratio: Share of hidden tokens; by default 0.6 as in SimMIM, 0.75 of the uniform policies.
        options: Further arguments of :func:`egmim_mm.masking.sample_mask`: ``token_size``, ``cell_size``,
            ``fine_cell_size`` (px), ``beta``, ``top_share``, ``max_rate``; of ``edge_uniform`` ``temperature`` and
            ``keep``.
        schedule: What changes over the training, see :func:`egmim_mm.masking.scheduled`. By default the emphasis on
            edges alone, which rises.

    Raises:
        ValueError: Unknown policy, or a schedule that does not fit.
        TypeError: Unknown option.
    """

    def __init__(self, policy: str = 'edge_stratified', ratio: float | None = None, schedule: dict | None = None,
                 **options) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f'unknown mask policy {policy!r}; choose one of {", ".join(POLICIES)}')
        drawn = ('progress', 'generator', 'shard', 'part', 'valid')  # of each call
        unknown = set(options) - set(signature(sample_mask).parameters) | set(options) & {'edge', *drawn}
        if unknown:
            raise TypeError(f'EdgeGuidedMaskGenerator has no option {", ".join(sorted(unknown))}')
        self.schedule = dict(schedule or {})
        check_schedule(self.schedule, policy)
        self.options = dict(policy=policy, ratio=default_ratio(policy) if ratio is None else ratio, **options)

    def of_policy(self, policy: str) -> 'EdgeGuidedMaskGenerator':
        """The same with another policy, to compare."""
        return type(self)(**{**self.options, 'policy': policy}, schedule=self.schedule)

    @property
    def cell_sizes(self) -> tuple[int, ...]:
        """Sides of the cells that are hidden as a whole, px, in the order of the training."""
        own = self.options.get('cell_size') or default_cell_size(self.options['policy'])
        return tuple(self.schedule.get('cell_size', (own, )))

    @property
    def image_multiple(self) -> int:
        """What the sides of images must divide by, px."""
        return (2 if self.options['policy'] in UNIFORM_POLICIES else 1) * lcm(*self.cell_sizes)

    def forward(self,
                edge: Tensor,
                progress: float,
                generator: torch.Generator | None = None,
                shard: tuple[int, int] = (0, 1),
                valid: Tensor | None = None,
                part: tuple[int, int] = (0, 1)) -> Tensor:
        """(B, 1, H, W) edge strength [and bool valid] -> (B, H / token_size, W / token_size) bool, True = hidden."""
        emphasis, now = scheduled(self.schedule, progress)
        return sample_mask(edge, progress=emphasis, generator=generator, shard=shard, part=part, valid=valid,
                           **{**self.options, **now})
