import torch
from mmengine import dist
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from egmim_mm.registry import MODELS

from .settings_checks import check_bands, check_size
from .valid_pixels import holds_data, nodata_tensor, packed_valid


class EdgeGuidedMasking(BaseSelfSupervisor):
    """A backbone, and the part of EGMIM that decides what it does not see: edge prior -> mask.

    Args:
        backbone: Config of a masked Swin.
        edge_prior: Config of :class:`EdgePrior`.
        mask_generator: Config of :class:`EdgeGuidedMaskGenerator`.
        nodata: ``dict(value=0)`` or one value per band: a pixel with this value in every band holds no data. In the
            units and band order that the data preprocessor normalises: raw pixels (0..255 for 8 bits), RGB after
            ``bgr_to_rgb``. No-data pixels are never hidden, and are no edges.
        data_preprocessor: ``mean`` and ``std`` per band; :class:`BandDataPreprocessor` by default.

    Raises:
        ValueError: Bands of backbone and data preprocessor that do not fit together, or an unknown ``nodata``.
    """

    image_multiple = 32  # px, the stride of Swin's last stage

    def __init__(self, backbone: dict, edge_prior: dict, mask_generator: dict, nodata: dict | None,
                 data_preprocessor: dict | nn.Module | None, init_cfg: dict | None) -> None:
        if data_preprocessor is None or isinstance(data_preprocessor, dict):
            data_preprocessor = {'type': 'egmim_mm.BandDataPreprocessor', **(data_preprocessor or {})}
        super().__init__(backbone=backbone, data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.edge_prior = MODELS.build(edge_prior)
        self.mask_generator = MODELS.build(mask_generator)
        bands = check_bands(self.backbone, self.data_preprocessor)
        self.register_buffer('nodata_value', None if nodata is None else nodata_tensor(nodata, bands), persistent=False)
        self.iteration = self.max_iters = self.seed = None
        self.part = (0, 1)

    def set_iteration(self, iteration: int, max_iters: int, seed: int) -> None:
        """Where training stands: steps done, steps in all, seed of the run. Masks depend on nothing else."""
        self.iteration, self.max_iters, self.seed = iteration, max_iters, seed
        self.part = (0, 1)

    def set_part(self, number: int, count: int) -> None:
        """Which of the equal parts of a step's images comes next; of this iteration alone."""
        self.part = (number, count)

    def images(self, inputs: Tensor) -> Tensor:
        """Undo mean/std: normalised inputs (B, C, H, W) -> images in [0, 1]; raw pixels of 255 become 1."""
        return (self._raw(inputs) / 255).clamp(0, 1)

    def _raw(self, inputs: Tensor) -> Tensor:
        return inputs * self.data_preprocessor.std + self.data_preprocessor.mean

    def valid(self, inputs: Tensor, data_samples: list[DataSample] | None = None) -> Tensor | None:
        """Which pixels hold data.

        Args:
            inputs: (B, C, H, W) normalised; compared with ``nodata`` if that is set.
            data_samples: A field ``valid``, (H, W) bool (NumPy or torch, True = data), counts as well.
                ``PackInputs(algorithm_keys=['valid'])`` packs one; a sample without it is valid.

        Returns:
            (B, 1, H, W) bool on the device of ``inputs``; None when all pixels hold data.

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
            edge: (B, 1, H, W) edge strength.
            valid: (B, 1, H, W) bool; only cells that hold data everywhere are hidden.
            seed: Draw the mask of this seed with the edge emphasis of the end of training instead. It depends on
                neither iteration nor rank, so pictures can be compared over a run.

        Raises:
            RuntimeError: Neither ``seed`` nor :meth:`set_iteration` was given.
            ValueError: The image does not divide into the cells of the mask or the patches of the pixel head.
        """
        check_size(edge.shape[-2:], self.image_multiple)
        if seed is not None:
            progress, number, shard, part = 1.0, seed, (0, 1), (0, 1)
        elif self.iteration is None:
            raise RuntimeError("EGMIM does not know how far training is: add dict(type='egmim_mm.MaskCurriculumHook') "
                               'to the hooks, or call set_iteration()')
        else:
            progress, number = self.iteration / self.max_iters, self.seed * 1_000_003 + self.iteration
            shard, part = (dist.get_rank(), dist.get_world_size()), self.part
        generator = torch.Generator(edge.device).manual_seed(number)
        return self.mask_generator(edge, progress, generator, shard, valid, part)
