"""What a training step of fine-tuning costs, against one of stock MMSegmentation with the same Swin and heads."""
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from unittest import mock

import mmseg.models  # noqa: F401  its classes register themselves
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.models import SwinTransformer
from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS as MMSEG
from mmseg.structures import SegDataSample
from torch import Tensor

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.engine.device import adapt_to_device
from egmim_mm.registry import MODELS
from egmim_mm.synthetic import make_scene

from .pretrain_step import SCENES, TrainingStep
from .timing import PartTimer

__all__ = ['FinetuningStep', 'labelled_scenes', 'make_ours', 'make_stock', 'share_weights', 'stock_upernet']

# what mmseg's upernet configs of Swin state
STOCK_WRAPPER = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={
        'absolute_pos_embed': dict(decay_mult=0.), 'relative_position_bias_table': dict(decay_mult=0.),
        'norm': dict(decay_mult=0.)}))


def labelled_scenes(batch: int, size: int, classes: int) -> dict[str, list]:
    """A batch as a loader hands it over: uint8 BGR images (3, size, size) and masks of synthetic scenes."""
    drawn = [make_scene(seed, size) for seed in range(min(batch, SCENES))]
    inputs, samples = [], []
    for i in range(batch):
        image, mask = drawn[i % len(drawn)]
        inputs.append(torch.from_numpy(swap_rgb_bgr(image).copy()).permute(2, 0, 1).contiguous())
        samples.append(SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size))))
        samples[-1].gt_sem_seg = PixelData(data=torch.from_numpy(mask).long()[None] % classes)
    return dict(inputs=inputs, data_samples=samples)


def stock_upernet(model: Config) -> dict:
    """Config of MMSegmentation's EncoderDecoder, Swin, heads and loss in the sizes of one of our segmentation models.

    Raises:
        ValueError: The backbone is no MaskedSwinTransformer, of which MMSegmentation has the stock form.
    """
    stock, ours = deepcopy(model).to_dict(), model.backbone
    if str(ours.type).rpartition('.')[2] != 'MaskedSwinTransformer':
        raise ValueError(f'model.backbone.type is {ours.type!r}; MMSegmentation has a stock form of '
                         'egmim_mm.MaskedSwinTransformer alone')
    arch = ours.arch if isinstance(ours.arch, dict) else SwinTransformer.arch_zoo[ours.arch]
    widths = [arch['embed_dims'] * 2**i for i in range(4)]
    stock['type'] = 'EncoderDecoder'
    stock['data_preprocessor']['type'] = 'SegDataPreProcessor'
    stock['backbone'] = dict(
        type='SwinTransformer', window_size=ours.window_size, drop_path_rate=ours.get('drop_path_rate', 0.0),
        pretrain_img_size=ours.img_size, patch_norm=True, **{k: arch[k] for k in ('embed_dims', 'depths', 'num_heads')})
    for name in ('decode_head', 'auxiliary_head'):
        head = stock[name]
        index = head['in_index']
        head.update(type=head['type'].rpartition('.')[2],
                    in_channels=[widths[i] for i in index] if isinstance(index, (list, tuple)) else widths[index],
                    loss_decode=dict(type='CrossEntropyLoss', loss_weight=head['loss_decode']['loss_weight']))
    return stock


class FinetuningStep(TrainingStep):
    """One training step, as the runner does it: preprocessing, losses, backward, the optimizer.

    Args:
        model: On its device, which the batch is copied to in each step.
        optimizer: Its wrapper.
        batch: As a loader hands it over.
    """

    def __init__(self, model: EncoderDecoder, optimizer: OptimWrapper, batch: dict[str, list]) -> None:
        model.train()
        self.model, self.optimizer, self.batch = model, optimizer, batch

    def __call__(self) -> dict[str, Tensor]:
        """Losses by name."""
        return self.model.train_step(self.batch, self.optimizer)

    @contextmanager
    def timed(self, timer: PartTimer) -> Iterator[None]:
        """Inside the block the parts of each step are timed; what belongs to no part is 'other'."""
        model = self.model
        parts = [
            (model.data_preprocessor, 'forward', 'normalisation'), (model.backbone, 'forward', 'backbone, forward'),
            (model.decode_head, 'loss_by_feat', 'losses'), (model.auxiliary_head, 'loss_by_feat', 'losses'),
            (model.decode_head, 'forward', 'decode head, forward'),
            (model.auxiliary_head, 'forward', 'auxiliary head, forward'), (self.optimizer, 'backward', 'backward'),
            (self.optimizer, 'step', 'optimizer'), (self.optimizer, 'zero_grad', 'optimizer'),
            (model, 'train_step', 'other')
        ]
        with ExitStack() as stack:
            for owner, name, part in parts:
                stack.enter_context(mock.patch.object(owner, name, timer.wrap(part, getattr(owner, name))))
            yield


def make_ours(cfg: Config, batch: dict[str, list], device: torch.device, precision: str = 'auto') -> FinetuningStep:
    """The step of a segmentation config of this package.

    Args:
        cfg: With ``model`` and ``optim_wrapper``.
        batch: See :func:`labelled_scenes`.
        device: Of the model.
        precision: ``optim_wrapper.precision``.
    """
    cfg = deepcopy(cfg)
    cfg.optim_wrapper.precision = precision
    adapt_to_device(cfg)
    init_default_scope('mmseg')
    model = MODELS.build(cfg.model)
    model.init_weights()
    model = model.to(device)
    return FinetuningStep(model, build_optim_wrapper(model, cfg.optim_wrapper), batch)


def make_stock(cfg: Config, batch: dict[str, list], device: torch.device,
               precision: str = 'float32') -> FinetuningStep:
    """The step of MMSegmentation, with the sizes of the same config and the optimizer of its own configs.

    Args:
        cfg, batch, device: As for :func:`make_ours`.
        precision: ``float32``, or ``bfloat16`` to compare alike (on CPUs MMSegmentation has no such setting).
    """
    stock = Config(dict(model=stock_upernet(cfg.model), optim_wrapper=deepcopy(STOCK_WRAPPER)))
    adapt_to_device(stock, amp=precision == 'bfloat16')
    init_default_scope('mmseg')
    model = MMSEG.build(stock.model).to(device)
    return FinetuningStep(model, build_optim_wrapper(model, stock.optim_wrapper), batch)


def share_weights(ours: FinetuningStep, stock: FinetuningStep) -> None:
    """Give the stock model the weights of ours; both have the same.

    Raises:
        RuntimeError: A weight is missing, left over or of another shape.
    """
    state = stock.model.state_dict()
    index = {key: value for key, value in state.items() if key.endswith('relative_position_index')}  # made otherwise
    stock.model.load_state_dict(ours.model.state_dict() | index)
