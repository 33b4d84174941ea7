import torch
from mmengine import dist
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn import functional as F

from egmim_mm.registry import MODELS


@MODELS.register_module()
class EGMIM(BaseSelfSupervisor):
    """Edge-guided masked image modeling: edge prior -> mask -> backbone -> heads -> losses.

    ``L = L_pix + structure_weight * sum_k s_k L_k`` over the terms k of the structure head. The scales s_k are 1
    until step ``rescale_at``, when each is set once to ``L_pix / L_k`` of that step; they are saved with the
    model. With ``policy='random'``, ``gamma=0`` and no structure head this is SimMIM.

    :class:`egmim_mm.engine.MaskCurriculumHook` must tell the model where training stands.

    Args:
        backbone (dict): A :class:`MaskedSwinTransformer` that returns the stages the heads read.
        head (dict): Pixel head on the last stage.
        structure_head (dict, optional): Head on stages 1 and 2.
        edge_prior (dict), mask_generator (dict): Configs.
        structure_weight (float): lambda.
        rescale_at (int): Step at which the structure terms are rescaled; at most a tenth of the training.
        kwargs: ``data_preprocessor``, ``init_cfg``.
    """

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 structure_head: dict | None = None,
                 edge_prior: dict = dict(type='egmim_mm.EdgePrior'),
                 mask_generator: dict = dict(type='egmim_mm.EdgeGuidedMaskGenerator'),
                 structure_weight: float = 0.5,
                 rescale_at: int = 200,
                 **kwargs) -> None:
        super().__init__(backbone=backbone, head=head, **kwargs)
        read = {3} if structure_head is None else {0, 1, 3}
        if not read <= set(self.backbone.out_indices):
            raise ValueError(f'the heads read the stages {sorted(read)}, the backbone returns out_indices='
                             f'{self.backbone.out_indices}')
        self.structure_head = MODELS.build(structure_head) if structure_head else None
        self.edge_prior = MODELS.build(edge_prior)
        self.mask_generator = MODELS.build(mask_generator)
        self.structure_weight = structure_weight
        self.rescale_at = rescale_at
        terms = 0 if self.structure_head is None else 2 if self.structure_head.hog_bins else 1
        self.register_buffer('term_scale', torch.zeros(terms))  # 0 = not set yet
        self.iteration = self.max_iters = self.seed = None

    def set_iteration(self, iteration: int, max_iters: int, seed: int) -> None:
        """Where training stands: steps done, steps in all, seed of the run. Masks depend on nothing else."""
        self.iteration, self.max_iters, self.seed = iteration, max_iters, seed

    def extract_feat(self, inputs: Tensor) -> tuple:
        """(B, C, H, W) normalised -> feature maps of the backbone's ``out_indices``."""
        return self.backbone(inputs)

    def images(self, inputs: Tensor) -> Tensor:
        """Undo mean/std: normalised inputs (B, C, H, W) -> images in [0, 1]."""
        p = self.data_preprocessor
        return ((inputs * p.std + p.mean) / 255).clamp(0, 1)

    def draw_mask(self, edge: Tensor) -> Tensor:
        """Token mask of this iteration, the same however the global batch is shared out; (B, h, w) bool."""
        if self.iteration is None:
            raise RuntimeError("EGMIM does not know how far training is: add dict(type='egmim_mm.MaskCurriculumHook') "
                               'to the hooks, or call set_iteration()')
        generator = torch.Generator(edge.device).manual_seed(self.seed * 1_000_003 + self.iteration)
        return self.mask_generator(edge, self.iteration / self.max_iters, generator,
                                   (dist.get_rank(), dist.get_world_size()))

    def loss(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> dict[str, Tensor]:
        """inputs (B, C, H, W) normalised -> losses by name; names with ``loss`` are summed by the runner."""
        images = self.images(inputs)
        edge = self.edge_prior(images)
        mask = self.draw_mask(edge)
        features = dict(zip(self.backbone.out_indices, self.backbone(inputs, mask)))
        losses = dict(loss_pixel=self.head.loss(features[3], inputs, mask, edge))
        if self.structure_head is not None:
            terms = self.structure_head.loss([features[0], features[1]], images, mask, edge)
            self._rescale_once(losses['loss_pixel'], terms)
            scales = torch.where(self.term_scale > 0, self.term_scale, torch.ones_like(self.term_scale))
            for scale, (name, term) in zip(scales, terms.items()):
                losses[f'loss_{name}'] = self.structure_weight * scale * term
                losses[name] = term.detach()  # unscaled, for the log
        return losses

    @torch.no_grad()
    def _rescale_once(self, pixel: Tensor, terms: dict[str, Tensor]) -> None:
        due = self.iteration >= min(self.rescale_at, self.max_iters // 10)
        if due and self.training and not self.term_scale.any():
            values = torch.stack([pixel, *terms.values()]).float()
            dist.all_reduce(values, 'mean')
            # at most 100: a batch that happens to have no edges must not set the balance of the whole run
            self.term_scale.copy_((values[0] / values[1:].clamp(min=1e-6)).clamp(1e-6, 100))

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor) -> dict[str, Tensor]:
        """What the model sees and makes of it, for pictures.

        Args:
            inputs (Tensor): (B, C, H, W) normalised.

        Returns:
            dict[str, Tensor]: ``image``, ``masked`` (hidden tokens grey), ``reconstruction`` (visible pixels as
            they are) as (B, C, H, W) in [0, 1]; ``edge`` (B, 1, H, W); ``mask`` (B, 1, H, W) float.
        """
        images = self.images(inputs)
        edge = self.edge_prior(images)
        mask = self.draw_mask(edge)
        features = self.backbone(inputs, mask)[-1]
        hidden = F.interpolate(mask[:, None].float(), size=images.shape[-2:], mode='nearest')
        predicted = self.images(self.head(features).float())
        return dict(
            image=images,
            edge=edge,
            mask=hidden,
            masked=images * (1 - hidden) + 0.5 * hidden,
            reconstruction=images * (1 - hidden) + predicted * hidden)
