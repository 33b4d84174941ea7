import torch
from mmengine import dist
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from egmim_mm.registry import MODELS

from ..losses import GradientL1Loss
from .anchor import FeatureAnchor
from .part_checks import check_parts, check_size
from .valid_pixels import holds_data, nodata_tensor, packed_valid


@MODELS.register_module()
class EGMIM(BaseSelfSupervisor):
    """Edge-guided masked image modeling: edge prior -> mask -> backbone -> heads -> losses.

    ``L = L_pix + structure_weight * (s_edge L_edge + s_hog L_hog) + grad_weight * s_grad L_grad + w L_anchor``,
    without the terms that are turned off. The scales s_k are 1 until step ``rescale_at``, when each is set once to
    ``L_pix / L_k`` of that step; they are saved with the model. With ``policy='random'``, ``gamma=0`` and nothing
    but the pixel head this is SimMIM. Every term is the mean of its values per sample; a sample with nothing hidden
    counts as 0.

    :class:`egmim_mm.engine.MaskCurriculumHook` must tell the model where training stands.

    Args:
        backbone (dict): A masked Swin that returns the stages the heads read, and stage 3 for an anchor.
        head (dict): Pixel head on the last stage.
        structure_head (dict, optional): Head on stages 1 and 2.
        edge_prior (dict), mask_generator (dict): Configs.
        structure_weight (float): lambda.
        grad_weight (float): Weight of :class:`GradientL1Loss` on the composite image; 0 = without.
        anchor (dict, optional): Arguments of :class:`FeatureAnchor`, ``dict(weight=1.0)``: stay near the weights
            that the run starts from.
        nodata (dict, optional): ``dict(value=0)`` or one value per band: a pixel with this value in every band holds
            no data. In the units and band order that the data preprocessor normalises: raw pixels (0..255 for 8
            bits), RGB after ``bgr_to_rgb``. No-data pixels are never hidden, and are no edges.
        rescale_at (int): Step at which the terms are rescaled; at most a tenth of the training.
        data_preprocessor (dict): ``mean`` and ``std`` per band; :class:`BandDataPreprocessor` by default.
        kwargs: ``init_cfg``.

    Raises:
        ValueError: Parts whose stages, channels or bands do not fit together, or a negative ``grad_weight``.
    """

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 structure_head: dict | None = None,
                 edge_prior: dict = dict(type='egmim_mm.EdgePrior'),
                 mask_generator: dict = dict(type='egmim_mm.EdgeGuidedMaskGenerator'),
                 structure_weight: float = 0.5,
                 grad_weight: float = 0.0,
                 anchor: dict | None = None,
                 nodata: dict | None = None,
                 rescale_at: int = 200,
                 data_preprocessor: dict | nn.Module | None = None,
                 **kwargs) -> None:
        if data_preprocessor is None or isinstance(data_preprocessor, dict):
            data_preprocessor = {'type': 'egmim_mm.BandDataPreprocessor', **(data_preprocessor or {})}
        super().__init__(backbone=backbone, head=head, data_preprocessor=data_preprocessor, **kwargs)
        if grad_weight < 0:
            raise ValueError(f'grad_weight must not be negative, got {grad_weight}')
        self.structure_head = MODELS.build(structure_head) if structure_head else None
        self.edge_prior = MODELS.build(edge_prior)
        self.mask_generator = MODELS.build(mask_generator)
        self.grad_loss = GradientL1Loss() if grad_weight else None
        bands = check_parts(self.backbone, self.head, self.structure_head, self.data_preprocessor)
        self.anchor = FeatureAnchor(self.backbone, **anchor) if anchor is not None else None
        self.structure_weight = structure_weight
        self.grad_weight = grad_weight
        self.rescale_at = rescale_at
        self.terms = ()
        if self.structure_head is not None:
            self.terms += ('edge', 'hog') if self.structure_head.hog_bins else ('edge', )
        if self.grad_loss is not None:
            self.terms += ('grad', )
        self.register_buffer('term_scale', torch.zeros(len(self.terms)))  # 0 = not set yet
        self._rescaled = False  # whether term_scale is set; None = look, weights were loaded
        self.register_buffer('nodata_value', None if nodata is None else nodata_tensor(nodata, bands), persistent=False)
        self.iteration = self.max_iters = self.seed = None

    def init_weights(self) -> None:
        """Initial values or checkpoint of every part; the anchor's teacher becomes a copy of the backbone."""
        super().init_weights()
        if self.anchor is not None:
            self.anchor.remember(self.backbone)

    def set_iteration(self, iteration: int, max_iters: int, seed: int) -> None:
        """Where training stands: steps done, steps in all, seed of the run. Masks depend on nothing else."""
        self.iteration, self.max_iters, self.seed = iteration, max_iters, seed

    def extract_feat(self, inputs: Tensor) -> tuple:
        """(B, C, H, W) normalised -> feature maps of the backbone's ``out_indices``."""
        return self.backbone(inputs)

    def images(self, inputs: Tensor) -> Tensor:
        """Undo mean/std: normalised inputs (B, C, H, W) -> images in [0, 1]; raw pixels of 255 become 1."""
        return (self._raw(inputs) / 255).clamp(0, 1)

    def _raw(self, inputs: Tensor) -> Tensor:
        return inputs * self.data_preprocessor.std + self.data_preprocessor.mean

    def valid(self, inputs: Tensor, data_samples: list[DataSample] | None = None) -> Tensor | None:
        """Which pixels hold data.

        Args:
            inputs (Tensor): (B, C, H, W) normalised; compared with ``nodata`` if that is set.
            data_samples (list[DataSample], optional): A field ``valid``, (H, W) bool (NumPy or torch, True = data),
                counts as well. ``PackInputs(algorithm_keys=['valid'])`` packs one; a sample without it is valid.

        Returns:
            Tensor | None: (B, 1, H, W) bool on the device of ``inputs``; None when all pixels hold data.

        Raises:
            ValueError: A field of another size than the image.
        """
        packed = packed_valid(data_samples, inputs)
        if self.nodata_value is None:
            return packed
        valid = holds_data(self._raw(inputs), self.nodata_value)
        return valid if packed is None else valid & packed

    def draw_mask(self, edge: Tensor, valid: Tensor | None = None, seed: int | None = None) -> Tensor:
        """Token mask of this iteration, the same however the global batch is shared out; (B, h, w) bool.

        Args:
            edge (Tensor): (B, 1, H, W) edge strength.
            valid (Tensor, optional): (B, 1, H, W) bool; only cells that hold data everywhere are hidden.
            seed (int, optional): Draw the mask of this seed with the edge emphasis of the end of training instead.
                It depends on neither iteration nor rank, so pictures can be compared over a run.

        Raises:
            RuntimeError: Neither ``seed`` nor :meth:`set_iteration` was given.
            ValueError: The image does not divide into the cells of the mask or the patches of the pixel head.
        """
        check_size(edge.shape[-2:], self.head.encoder_stride)
        if seed is not None:
            progress, number, shard = 1.0, seed, (0, 1)
        elif self.iteration is None:
            raise RuntimeError("EGMIM does not know how far training is: add dict(type='egmim_mm.MaskCurriculumHook') "
                               'to the hooks, or call set_iteration()')
        else:
            progress, number = self.iteration / self.max_iters, self.seed * 1_000_003 + self.iteration
            shard = (dist.get_rank(), dist.get_world_size())
        return self.mask_generator(edge, progress, torch.Generator(edge.device).manual_seed(number), shard, valid)

    def loss(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> dict[str, Tensor]:
        """inputs (B, C, H, W) normalised -> losses by name; names with ``loss`` are summed by the runner."""
        images = self.images(inputs)
        valid = self.valid(inputs, data_samples)
        edge = self.edge_prior(images, valid)
        mask = self.draw_mask(edge, valid)
        features = dict(zip(self.backbone.out_indices, self.backbone(inputs, mask)))
        prediction, hidden = self.head(features[3]), _to_pixels(mask, inputs)
        losses = dict(loss_pixel=self.head.loss(prediction, inputs, hidden, edge))
        terms = {}
        if self.structure_head is not None:
            terms.update(self.structure_head.loss([features[0], features[1]], images, mask, edge))
        if self.grad_loss is not None:
            terms['grad'] = self.grad_loss(prediction, inputs, hidden)
        if terms:
            self._rescale_once(losses['loss_pixel'], terms)
            scales = torch.where(self.term_scale > 0, self.term_scale, torch.ones_like(self.term_scale))
            for scale, (name, term) in zip(scales, terms.items()):
                weight = self.grad_weight if name == 'grad' else self.structure_weight
                losses[f'loss_{name}'] = weight * scale * term
                losses[name] = term.detach()  # unscaled, for the log
        if self.anchor is not None:
            distance = self.anchor(features[2], inputs, mask.flatten(1).any(1))
            losses['loss_anchor'] = self.anchor.weight * distance
            losses['anchor'] = distance.detach()
        return losses

    @torch.no_grad()
    def _rescale_once(self, pixel: Tensor, terms: dict[str, Tensor]) -> None:
        # decided by Python values: looking at the buffer would make a GPU wait at every step
        if self._rescaled or not self.training or self.iteration < min(self.rescale_at, self.max_iters // 10):
            return
        if self._rescaled is None:
            self._rescaled = bool(self.term_scale.all())
            if self._rescaled:
                return
        values = torch.stack([pixel, *terms.values()]).float()
        dist.all_reduce(values, 'mean')
        if values[0] > 0:  # else nothing is hidden anywhere in this batch: the next one decides
            # at most 100: a batch that happens to have no edges must not set the balance of the whole run
            self.term_scale.copy_((values[0] / values[1:].clamp(min=1e-6)).clamp(1e-6, 100))
            self._rescaled = True

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        # MMEngine only logs what does not fit; a run would go on with another balance or a random teacher
        scales = state_dict.get(f'{prefix}term_scale')
        if scales is not None and len(scales) != len(self.terms):
            raise ValueError(f'the checkpoint balances {len(scales)} auxiliary loss terms, this model has '
                             f'{len(self.terms)} ({", ".join(self.terms) or "none"}): resume with the structure_head '
                             'and grad_weight it was trained with, or start a new run from it with --backbone')
        if self.anchor is not None and not any(key.startswith(f'{prefix}anchor.') for key in state_dict):
            raise ValueError('the checkpoint holds no anchor: it is from a run with anchor=None. Resume without '
                             'anchor, or start a new run from it with --backbone')
        self._rescaled = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def reconstruct(self,
                    inputs: Tensor,
                    data_samples: list[DataSample] | None = None,
                    seed: int | None = None) -> dict[str, Tensor]:
        """What the model sees and makes of it, for pictures: in eval mode and full precision, whatever is set.

        Args:
            inputs (Tensor): (B, C, H, W) normalised.
            data_samples (list[DataSample], optional): See :meth:`valid`.
            seed (int, optional): See :meth:`draw_mask`.

        Returns:
            dict[str, Tensor]: ``image``, ``masked`` (hidden tokens grey), ``reconstruction`` (visible pixels as
            they are) as (B, C, H, W) in [0, 1]; ``edge`` (B, 1, H, W); ``mask`` (B, 1, H, W) float.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.autocast(inputs.device.type, enabled=False):
                images, valid = self.images(inputs), self.valid(inputs, data_samples)
                edge = self.edge_prior(images, valid)
                mask = self.draw_mask(edge, valid, seed)
                predicted = self.images(self.head(self.backbone(inputs, mask)[-1]))
        finally:
            for module, mode in modes:
                module.training = mode
        hidden = _to_pixels(mask, images)
        return dict(
            image=images,
            edge=edge,
            mask=hidden,
            masked=images * (1 - hidden) + 0.5 * hidden,
            reconstruction=images * (1 - hidden) + predicted * hidden)


def _to_pixels(mask: Tensor, images: Tensor) -> Tensor:
    """(B, h, w) bool tokens -> (B, 1, H, W) float pixels of ``images``, 1 = hidden."""
    return F.interpolate(mask[:, None].float(), size=images.shape[-2:], mode='nearest')
