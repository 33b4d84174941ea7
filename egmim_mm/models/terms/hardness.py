import torch
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS

from .base import LossTerm, MaskedBatch

LEAST_ERROR = 0.01  # of pixels normalised by mean and std: smaller errors are all alike


@MODELS.register_module()
class HardnessTerm(LossTerm):
    """Predicts where the student will fail, from what a teacher sees of the whole image, for the mask to hide it.

    A linear head on the teacher's features predicts the logarithm of the pixel loss of every place, up to a constant
    of the image, and learns it from the hidden places of each step. So hardness is known of an image that was never
    seen, before it is masked; it moves with the student; and its state is that head, which checkpoints hold and
    processes share like any other. Neither the student nor the teacher gets a gradient of it. Learning to predict the
    loss is Hard Patches Mining's (Wang et al., CVPR 2023), which has a second decoder on the student for it.

    What the mask policy sees in the place of edge strength E is ``E exp(h - max h)``, h the prediction. The head
    starts at zero, so the first masks are those of edges alone.

    Args:
        stage: Index of the teacher's stage whose features are read, 0 to 3; its stride should be the cells' side or
            less: 2 for 16 px, 1 for 8.
        edges: Whether hardness is multiplied with edges; else it stands alone.
        weight: Factor of the loss. It moves the head alone, and is small so that it counts little in the clipped norm
            of all gradients.

    Raises:
        ValueError: A stage that does not exist.
    """

    name = 'hardness'
    reads = ('pixel', )
    rescaled = False

    def __init__(self, stage: int = 2, edges: bool = True, weight: float = 0.1, init_cfg: dict | None = None) -> None:
        super().__init__(weight, init_cfg)
        if stage not in (0, 1, 2, 3):
            raise ValueError(f'HardnessTerm: stage must be 0, 1, 2 or 3, got {stage!r}')
        self.looks_at, self.edges = (stage, ), edges

    @property
    def reads_edges(self) -> bool:
        """Whether edges have a part in it."""
        return self.edges

    def look_through(self, channels: int) -> None:
        """Build the head on features of so many ``channels``."""
        self.log_error = nn.Conv2d(channels, 1, kernel_size=1)

    def init_weights(self) -> None:
        """All places are equally hard at the start."""
        nn.init.zeros_(self.log_error.weight)
        nn.init.zeros_(self.log_error.bias)

    def from_features(self, looked: dict[int, Tensor]) -> Tensor:
        """Stage index -> features of the teacher: (B, 1, h, w) float32, h of all places."""
        x = looked[self.looks_at[0]].detach().float().permute(0, 2, 3, 1)
        x = F.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2)
        with torch.autocast(x.device.type, enabled=False):
            return self.log_error(x)

    @torch.no_grad()
    def guide(self, edge: Tensor, looked: dict[int, Tensor]) -> Tensor:
        """(B, 1, H, W) edge strength -> what the mask policy sees in its place, in [0, 1] too."""
        log_error = self.from_features(looked)
        relative = (log_error - log_error.amax((2, 3), keepdim=True)).exp()
        relative = F.interpolate(relative, size=edge.shape[-2:], mode='nearest')
        return edge * relative if self.edges else relative

    def predict(self, batch: MaskedBatch) -> Tensor:
        """(B, 1, h, w), h of all places."""
        return self.from_features(batch.looked)

    def losses(self, prediction: Tensor, batch: MaskedBatch) -> dict[str, Tensor]:
        """Variance of h - log(error) over the hidden places, which count by their hidden share."""
        size = prediction.shape[-2:]
        hidden, share = batch.hidden, batch.hidden_at(size)
        error = (batch.predictions['pixel'].detach().float() - batch.inputs).abs().mean(1, keepdim=True)
        error = F.adaptive_avg_pool2d(error * hidden, size) / share.clamp(min=1e-6)
        apart = prediction - error.clamp(min=LEAST_ERROR).log()
        count = share.sum((2, 3), keepdim=True).clamp(min=1e-6)
        apart = apart - (apart * share).sum((2, 3), keepdim=True) / count
        return dict(hardness=((apart.square() * share).sum((2, 3), keepdim=True) / count).mean())
