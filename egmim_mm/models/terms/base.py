from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class MaskedBatch:
    """What a loss term may read of one training step.

    Attributes:
        inputs: (B, C, H, W) whole images, normalised by mean and std.
        images: (B, C, H, W) whole images in [0, 1].
        edge: (B, 1, H, W) edge strength in [0, 1].
        mask: (B, H / 4, W / 4) bool, True = hidden.
        features: Stage index -> (B, C_i, H / 2^(i+2), W / 2^(i+2)), of the masked images: what the backbone returned,
            or what the decoder made of it.
        predictions: Name of a term -> its prediction, of the terms before this one in ``model.terms``.
        known: (B, 1, H, W) bool, pixels that hold data and whose edge strength depends on such pixels alone; None:
            all.
        encoded: Stage index -> what the backbone returned: of the visible cells alone if it encodes only these. The
            features, if left out.
        valid: (B, 1, H, W) bool, pixels that hold data; None = all.
        looked: Stage index -> (B, D, h, w), what the teacher that guides masks or edges makes of the whole images;
            None: there is no such teacher.
    """
    inputs: Tensor
    images: Tensor
    edge: Tensor
    mask: Tensor
    features: dict[int, Tensor]
    predictions: dict[str, Tensor] = field(default_factory=dict)
    encoded: dict[int, Tensor] | None = None
    known: Tensor | None = None
    valid: Tensor | None = None
    looked: dict[int, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.encoded is None:
            self.encoded = self.features

    @cached_property
    def hidden(self) -> Tensor:
        """(B, 1, H, W) float, 1 = hidden pixel."""
        return to_pixels(self.mask, self.inputs)

    def hidden_at(self, size: Sequence[int]) -> Tensor:
        """(B, 1, h, w) float of a map of ``size`` (h, w) over the image: share of each place that is hidden."""
        return F.adaptive_avg_pool2d(self.mask[:, None].float(), tuple(size))

    def data_at(self, size: Sequence[int]) -> Tensor:
        """(B, 1, h, w) float of a map of ``size`` (h, w) over the image: 1 = every pixel of the place holds data."""
        if self.valid is None:
            return self.inputs.new_ones(len(self.inputs), 1, *size)
        return 1 - F.adaptive_max_pool2d((~self.valid).float(), tuple(size))


class LossTerm(BaseModule):
    """One term of EGMIM's loss: its target, its prediction and the comparison of the two.

    A subclass names the stages it reads, builds its layers in :meth:`connect`, and gives its values in
    :meth:`losses`; see "Add a loss term" in docs/egmim.md. The backbone returns the stages that some term reads,
    and no others.

    Args:
        weight: Factor of all its losses, above 0.

    Raises:
        ValueError: ``weight`` is not positive.
    """

    name: str  # of the term in model.terms and of its weights in a checkpoint
    stages: Sequence[int] = ()  # indices of the stages it reads, 0 to 3
    place_by_place = True  # whether it reads whole maps, ``batch.features``; else ``batch.encoded``
    reads: Sequence[str] = ()  # names of the terms whose predictions it reads
    looks_at: Sequence[int] = ()  # stages of the teacher, ``batch.looked``, which are known before the mask
    rescaled = True  # whether its losses are brought to the size of the pixel loss, once

    def __init__(self, weight: float = 1.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if not weight > 0:
            raise ValueError(f'{type(self).__name__}: weight must be above 0, got {weight}; to turn the term off, '
                             'leave it out of model.terms')
        self.weight = weight

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses, in the order of :meth:`losses`."""
        return (self.name, )

    def connect(self, backbone: nn.Module) -> None:
        """Build the layers whose sizes follow from the backbone (``num_features``, bands)."""

    def guide(self, edge: Tensor, looked: dict[int, Tensor] | None) -> Tensor:
        """(B, 1, H, W) edge strength, ``batch.looked`` -> what the mask policy sees in its place."""
        return edge

    def begin(self, backbone: nn.Module) -> None:
        """The backbone has the weights that the run starts from."""

    def advance(self, backbone: nn.Module, iteration: int, max_iters: int) -> None:
        """A step of the optimizer begins, whatever number of parts its images are computed in.

        Args:
            backbone: With the weights that ``iteration`` steps have made.
            iteration: Steps done.
            max_iters: Steps of the run.
        """

    def predict(self, batch: MaskedBatch) -> Tensor | None:
        """Prediction from ``batch.features``; None if the term compares features themselves."""

    def constant_losses(self, batch: MaskedBatch) -> dict[str, Tensor]:
        """Losses of predicting the best constant of each image, by name; none where the term has no such zero."""
        return {}

    def losses(self, prediction: Tensor | None, batch: MaskedBatch) -> dict[str, Tensor]:
        """Scalars by name, without the weight: the mean over samples, 0 for a sample with nothing hidden."""
        raise NotImplementedError


def to_pixels(mask: Tensor, images: Tensor) -> Tensor:
    """(B, h, w) bool tokens -> (B, 1, H, W) float pixels of ``images``, 1 = hidden."""
    return F.interpolate(mask[:, None].float(), size=images.shape[-2:], mode='nearest')
