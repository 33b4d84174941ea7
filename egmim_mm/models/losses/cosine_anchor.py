from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS


@MODELS.register_module()
class CosineAnchorLoss(nn.Module):
    """``1 - cos`` between the mean-pooled feature maps of a student and of a frozen teacher, in [0, 2].

    The idea of a continual anchor is from GFM (Mendieta et al., ICCV 2023), which reads Swin's stage 3 after patch
    merging and puts a linear projection on the student; here neither, so an unchanged student has loss 0.
    """

    def forward(self, student: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
        """Args: student, teacher (B, C, h, w); counted (B,) bool, False = this sample contributes 0.

        Returns:
            Scalar, the mean over all samples.
        """
        pooled = (feature.float().mean((2, 3)) for feature in (student, teacher))
        return ((1 - F.cosine_similarity(*pooled, dim=1)) * counted).mean()
