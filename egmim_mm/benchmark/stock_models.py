"""The stock models with the backbone and the sizes of ours: MMPretrain's SimMIM, MMSegmentation's UperNet."""
import inspect
from copy import deepcopy

from mmengine.config import Config
from mmpretrain.models import SimMIMSwinTransformer, SwinTransformer

from egmim_mm.models import MaskedSwinTransformer

__all__ = ['egmim_model', 'stock_simmim', 'stock_upernet']


def egmim_model(cfg: Config) -> dict:
    """The model of a pretraining config.

    Raises:
        ValueError: It is not EGMIM, or stock SimMIM could not be built beside it.
    """
    model = cfg.get('model') or {}
    if str(model.get('type')).rpartition('.')[2] != 'EGMIM':
        raise ValueError(f'{cfg.filename}: model.type is {model.get("type")!r}, not egmim_mm.EGMIM. Give a pretraining '
                         'config, for example configs/_base_/models/egmim_swin-tiny.py')
    if model.backbone.get('in_channels', 3) != 3:
        raise ValueError(f'{cfg.filename}: model.backbone.in_channels is {model.backbone.in_channels}, but stock '
                         'SimMIM reconstructs three bands. Compare with in_channels=3')
    return model


def stock_simmim(model: dict, channels: int) -> dict:
    """Config of MMPretrain's SimMIM with the backbone of an EGMIM config, whose last stage has ``channels``."""
    ours = {name: p.default for name, p in inspect.signature(MaskedSwinTransformer).parameters.items()
            if p.default is not p.empty}
    backbone = {**ours, **deepcopy(model.backbone), 'type': 'SimMIMSwinTransformer', 'out_indices': (3, )}
    known = {*inspect.signature(SimMIMSwinTransformer).parameters, 'type', 'window_size'} - {'init_cfg'}
    backbone = {key: value for key, value in backbone.items() if key in known}  # not how ours hides tokens
    backbone['stage_cfgs'] = dict(block_cfgs=dict(window_size=backbone.pop('window_size')))
    return dict(
        type='SimMIM',
        data_preprocessor={k: v for k, v in model.data_preprocessor.items() if k != 'type'},
        backbone=backbone,
        neck=dict(type='SimMIMLinearDecoder', in_channels=channels, encoder_stride=32),
        head=dict(type='SimMIMHead', patch_size=4,
                  loss=dict(type='PixelReconstructionLoss', criterion='L1', channel=3)))


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
