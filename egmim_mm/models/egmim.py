from collections.abc import Sequence

import torch
from mmengine.model import ModuleDict, initialize
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from egmim_mm.registry import MODELS

from .edge_guided_masking import EdgeGuidedMasking
from .settings_checks import (
    check_encoding,
    check_terms,
    find_guide,
    read_stages,
    refuse_old_settings,
    refuse_old_weights,
)
from .terms import MaskedBatch, SkillBalance, TermBalance, to_pixels
from .visible_decoder import VisibleDecoder


@MODELS.register_module()
class EGMIM(EdgeGuidedMasking):
    """Edge-guided masked image modeling: edge prior -> mask -> backbone -> loss terms -> balance.

    With a random mask and ``PixelTerm(gamma=0)`` alone this is SimMIM. :class:`egmim_mm.engine.MaskCurriculumHook`
    must tell the model where training stands.

    With ``backbone.encode='visible'`` the backbone sees the visible cells alone, and a small decoder makes whole maps
    of its features for the terms.

    Args:
        backbone: Config of a masked Swin. The stages it returns are those that the terms read.
        terms: Configs of :class:`LossTerm`; one is a :class:`PixelTerm`.
        balance: Settings of :class:`TermBalance`, or the config of another class of its kind.
        edge_prior, mask_generator, nodata, data_preprocessor: See :class:`EdgeGuidedMasking`.
        decoder: Settings of :class:`VisibleDecoder`, ``channels`` and ``depth``, for ``backbone.encode='visible'``.
        old_settings: None: the settings of earlier versions are refused with what to write now.

    Raises:
        ValueError: Terms, stages, bands, masks or encoding that do not fit together, or a setting of an earlier
            version.
    """

    def __init__(self,
                 backbone: dict,
                 terms: Sequence[dict] = (),
                 balance: dict = dict(),
                 edge_prior: dict = dict(type='egmim_mm.EdgePrior'),
                 mask_generator: dict = dict(type='egmim_mm.EdgeGuidedMaskGenerator'),
                 nodata: dict | None = None,
                 data_preprocessor: dict | nn.Module | None = None,
                 decoder: dict | None = None,
                 init_cfg: dict | None = None,
                 **old_settings) -> None:
        refuse_old_settings(old_settings)
        built = [MODELS.build(term) for term in terms]
        check_terms(built)
        backbone = {**backbone, 'out_indices': read_stages(built, backbone)}
        super().__init__(backbone, edge_prior, mask_generator, nodata, data_preprocessor, init_cfg)
        check_encoding(self.backbone, self.mask_generator, decoder)
        guide = find_guide(built, self.edge_prior)
        for term in built:
            term.connect(self.backbone)
        self.guide = None if guide is None else guide.name  # term whose teacher sees whole images before the mask
        if guide is not None:
            guide.guides = True
            for term in built:
                if term.looks_at:
                    term.look_through(guide.channels(*term.looks_at))
        self.decoder = None
        if self.backbone.encode == 'visible':
            whole = sorted({stage for term in built if term.place_by_place for stage in term.stages})
            self.decoder = VisibleDecoder(self.backbone, whole, **decoder or {})
        self.terms = ModuleDict({term.name: term for term in built})
        self.balance = MODELS.build({'type': 'egmim_mm.TermBalance', **balance, 'terms': built})

    @property
    def reads_edges(self) -> bool:
        """Whether edges have an effect: SimMIM's masks and loss know none."""
        guided = self.mask_generator.options['policy'].startswith('edge')
        return guided or any(getattr(term, 'reads_edges', True) for term in self.terms.values())

    def init_weights(self) -> None:
        """Initial values or checkpoint of every part, then what the terms make of the backbone's."""
        # MMEngine would run an init_cfg of the whole model before those of its parts; here a checkpoint comes last
        init_cfg, self.init_cfg = self.init_cfg, None
        super().init_weights()
        self.init_cfg = init_cfg
        if init_cfg:
            initialize(self, init_cfg)
        for term in self.terms.values():
            term.begin(self.backbone)

    def set_iteration(self, iteration: int, max_iters: int, seed: int) -> None:
        """As :meth:`EdgeGuidedMasking.set_iteration`, for the terms too."""
        super().set_iteration(iteration, max_iters, seed)
        for term in self.terms.values():
            term.advance(self.backbone, iteration, max_iters)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) normalised -> feature maps of the backbone's ``out_indices``."""
        return self.backbone(inputs)

    def look(self, inputs: Tensor, images: Tensor) -> dict[int, Tensor] | None:
        """What the teacher that guides makes of whole images, see :meth:`TeacherTerm.look`; None without one."""
        return None if self.guide is None else self.terms[self.guide].look(inputs, images)

    def guidance(self, inputs: Tensor, images: Tensor,
                 valid: Tensor | None) -> tuple[Tensor, Tensor, dict[int, Tensor] | None]:
        """All that is known of images before they are masked.

        Args:
            inputs: (B, C, H, W) normalised.
            images: The same in [0, 1].
            valid: (B, 1, H, W) bool; None = all.

        Returns:
            Edge strength and what the mask policy sees in its place, (B, 1, H, W) in [0, 1]; :meth:`look`'s.
        """
        looked = self.look(inputs, images)
        edge = seen = self.edge_prior(images, valid, looked)
        for term in self.terms.values():
            seen = term.guide(seen, looked)
        return edge, seen, looked

    def encode(self, inputs: Tensor, data_samples: list[DataSample] | None = None,
               seed: int | None = None) -> MaskedBatch:
        """Hide a part of normalised images (B, C, H, W) and encode the rest; ``seed`` as for :meth:`draw_mask`."""
        images, valid = self.images(inputs), self.valid(inputs, data_samples)
        edge, seen, looked = self.guidance(inputs, images, valid)
        mask = self.draw_mask(seen, valid, seed)
        encoded = dict(zip(self.backbone.out_indices, self.backbone(inputs, mask)))
        features = encoded if self.decoder is None else self.decoder(encoded, mask, self.backbone.mask_token)
        known = None if valid is None else self.edge_prior.known(valid)
        return MaskedBatch(inputs, images, edge, mask, features, encoded=encoded, known=known, valid=valid,
                           looked=looked)

    def loss(self, inputs: Tensor, data_samples: list[DataSample] | None = None, **kwargs) -> dict[str, Tensor]:
        """inputs (B, C, H, W) normalised -> losses by name; names with ``loss`` are summed by the runner."""
        learns_scales = isinstance(self.balance, SkillBalance) and self.training
        if learns_scales and self.part[0] == 0:
            self.balance.begin_step()
        batch = self.encode(inputs, data_samples)
        values = self._values(batch)
        if learns_scales and self.balance.is_measured(self.iteration):
            with torch.no_grad():
                constants = [term.constant_losses(batch) for term in self.terms.values()]
            self.balance.measure(values, {name: value for one in constants for name, value in one.items()})
        return self.balance(values, self.iteration, self.max_iters)

    def _values(self, batch: MaskedBatch) -> dict[str, Tensor]:
        values = {}
        for name, term in self.terms.items():
            batch.predictions[name] = term.predict(batch)
            values.update(term.losses(batch.predictions[name], batch))
        return values

    @torch.no_grad()
    def look_ahead(self, parts: Sequence[dict]) -> None:
        """What has to be known of all parts of a step before the first: the scales, in the step that sets them.

        Args:
            parts: Arguments of :meth:`loss`, of equal numbers of images.
        """
        if not (isinstance(self.balance, TermBalance) and self.balance.is_due(self.iteration, self.max_iters)):
            return
        values = []
        for number, part in enumerate(parts):
            self.set_part(number, len(parts))
            values.append(self._values(self.encode(part['inputs'], part.get('data_samples'))))
        self.balance.set_scales({name: torch.stack([one[name] for one in values]).mean() for name in values[0]})

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, data_samples: list[DataSample] | None = None,
                    seed: int | None = None) -> dict[str, Tensor]:
        """What the model sees and makes of it, for pictures: in eval mode and full precision, whatever is set.

        Args:
            inputs: (B, C, H, W) normalised.
            data_samples: See :meth:`valid`.
            seed: See :meth:`draw_mask`.

        Returns:
            ``image``, ``masked`` (hidden tokens grey), ``reconstruction`` (visible pixels as they are) as
            (B, C, H, W) in [0, 1]; ``edge`` (B, 1, H, W); ``mask`` (B, 1, H, W) float.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.autocast(inputs.device.type, enabled=False):
                batch = self.encode(inputs, data_samples, seed)
                predicted = self.images(self.terms['pixel'].predict(batch))
        finally:
            for module, mode in modes:
                module.training = mode
        images, hidden = batch.images, to_pixels(batch.mask, batch.images)
        return dict(
            image=images,
            edge=batch.edge,
            mask=hidden,
            masked=images * (1 - hidden) + 0.5 * hidden,
            reconstruction=images * (1 - hidden) + predicted * hidden)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        refuse_old_weights(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)
