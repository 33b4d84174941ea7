"""What a training step of EGMIM costs, against one of stock SimMIM with the same backbone."""
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from unittest import mock

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import init_default_scope
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmpretrain.structures import DataSample
from torch import Tensor

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.models import EGMIM
from egmim_mm.models.terms import structure
from egmim_mm.registry import MODELS
from egmim_mm.synthetic import make_scene

from .stock_models import egmim_model, stock_simmim
from .timing import PartTimer

SCENES = 8  # different images of a batch; more would only take longer to draw


def as_simmim(model: dict) -> dict:
    """EGMIM without any guidance, which is SimMIM: random masks, plain L1, nothing on the shallow stages."""
    return dict(
        type='egmim_mm.EGMIM',
        data_preprocessor=deepcopy(model.data_preprocessor),
        backbone={**{k: v for k, v in deepcopy(model.backbone).items() if k != 'out_indices'}, 'encode': 'dense'},
        mask_generator={'type': 'egmim_mm.EdgeGuidedMaskGenerator', **model.get('mask_generator', {}),
                        'policy': 'random'},
        terms=[dict(type='egmim_mm.PixelTerm', gamma=0.0)])


def scenes(batch: int, size: int) -> Tensor:
    """(batch, 3, size, size) uint8 BGR: synthetic scenes, as a loader hands them over."""
    images = [torch.from_numpy(swap_rgb_bgr(make_scene(seed, size)[0]).copy()) for seed in range(min(batch, SCENES))]
    return torch.stack([images[i % len(images)] for i in range(batch)]).permute(0, 3, 1, 2).contiguous()


class TrainingStep:
    """One training step, as the runner does it: preprocessing, losses, backward, clipping, AdamW.

    Without a scheduler, hooks and distributed training. The batch is always the same and already on the device.

    Args:
        model: EGMIM or stock SimMIM, on its device.
        images: (B, 3, H, W) uint8.
        masks: (B, H / 4, W / 4) integers, 1 = hidden, which stock SimMIM expects of its loader.
        amp: bfloat16 autocast.
    """

    def __init__(self, model: BaseSelfSupervisor, images: Tensor, masks: Tensor | None = None,
                 amp: bool = False) -> None:
        self.model = model.train()
        samples = [DataSample() for _ in images]
        for sample, mask in zip(samples, () if masks is None else masks):
            sample.set_field(mask, 'mask')
        self.batch = dict(inputs=images, data_samples=samples)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
        clip = dict(max_norm=5.0)
        self.optimizer = (AmpOptimWrapper(optimizer=optimizer, clip_grad=clip, dtype='bfloat16') if amp else
                          OptimWrapper(optimizer, clip_grad=clip))
        self.iteration = 1000  # past the step at which EGMIM scales its terms

    def __call__(self) -> None:
        if isinstance(self.model, EGMIM):
            self.model.set_iteration(self.iteration, 10_000, 0)
            self.iteration += 1
        self.model.train_step(self.batch, self.optimizer)

    def parameters(self, prefix: str = '') -> int:
        """Number of parameters whose names start with ``prefix``."""
        return sum(p.numel() for name, p in self.model.named_parameters() if name.startswith(prefix))

    def peak_memory(self, device: torch.device) -> int:
        """Bytes of GPU memory this step needs: weights, optimiser state and what one step allocates at most."""
        kept = [*self.model.parameters(), *self.model.buffers(),
                *(value for state in self.optimizer.optimizer.state.values() for value in state.values())]
        own = sum(tensor.nbytes for tensor in kept if tensor.device.type == 'cuda')
        torch.cuda.synchronize(device)
        others = torch.cuda.memory_allocated(device) - own
        torch.cuda.reset_peak_memory_stats(device)
        self()
        return torch.cuda.max_memory_allocated(device) - others

    @contextmanager
    def timed(self, timer: PartTimer) -> Iterator[None]:
        """Inside the block the parts of each step are timed; what belongs to no part is 'other'."""
        model = self.model
        parts = [
            (model.data_preprocessor, 'forward', 'normalisation'),
            (model.backbone, 'forward', 'backbone, forward'),
            (self.optimizer, 'backward', 'backward'),
            (self.optimizer, 'step', 'clipping and AdamW'),
            (self.optimizer, 'zero_grad', 'clipping and AdamW'),
            (model, 'train_step', 'other'),
        ]
        if isinstance(model, EGMIM):
            parts += [(model, 'images', 'edge prior'), (model.edge_prior, 'forward', 'edge prior'),
                      (model, 'draw_mask', 'mask')]
            for name, term in model.terms.items():
                parts += [(term, method, f'{name} term') for method in ('predict', 'losses')]
            if 'structure' in model.terms:
                parts += [(structure, 'hog', 'HOG target')]
        else:
            parts += [(model.neck, 'forward', 'pixel term'), (model.head, 'loss', 'pixel term')]
        with ExitStack() as stack:
            for owner, name, part in parts:
                stack.enter_context(mock.patch.object(owner, name, timer.wrap(part, getattr(owner, name))))
            yield


def build_steps(cfg: Config, batch: int, size: int | None, amp: bool,
                device: torch.device) -> dict[str, TrainingStep]:
    """Name -> step, for EGMIM as the config has it, EGMIM without guidance, and stock SimMIM.

    All start from the same backbone weights and see the same images. Stock SimMIM is handed ready masks, which
    its loader would have drawn.

    Raises:
        ValueError: The config is not for EGMIM, or the image size does not fit.
    """
    config = egmim_model(cfg)
    if batch < 1:
        raise ValueError(f'--batch {batch}: give a positive number of images')
    init_default_scope('mmpretrain')
    images = scenes(batch, size or int(np.max(config.backbone.img_size))).to(device)
    torch.manual_seed(0)
    egmim = MODELS.build(deepcopy(config))
    egmim.init_weights()
    simmim = MODELS.build(as_simmim(config))
    stock = MMPRETRAIN.build(stock_simmim(config, egmim.backbone.num_features[3]))
    shared = {key: value for key, value in egmim.backbone.state_dict().items()
              if not key.startswith(('norm0', 'norm1', 'norm2'))}
    for other in (simmim, stock):
        other.backbone.load_state_dict(shared)
    for decoder in (simmim.terms['pixel'].head.decoder, stock.neck.decoder):
        decoder.load_state_dict(egmim.terms['pixel'].head.decoder.state_dict())
    simmim.set_iteration(0, 1, 0)
    masks = simmim.draw_mask(images[:, :1].float()).long()
    return {
        'EGMIM': TrainingStep(egmim.to(device), images, None, amp),
        'EGMIM without guidance': TrainingStep(simmim.to(device), images, None, amp),
        'MMPretrain SimMIM': TrainingStep(stock.to(device), images, masks, amp),
    }
