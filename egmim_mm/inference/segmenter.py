"""A trained segmentation model as a function from an image to class numbers."""
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from egmim_mm.band_order import swap_rgb_bgr
from egmim_mm.checkpoints import CheckpointError, read_checkpoint, resolve_source
from egmim_mm.checkpoints.recorded_config import take_preset_model
from egmim_mm.colors import default_palette
from egmim_mm.datasets.public import declared_metainfo
from egmim_mm.precision import autocast_for
from egmim_mm.records.provenance import file_sha256
from egmim_mm.registry import MODELS
from egmim_mm.storage.mask_values import parse_color

from .pixel_classifier import PixelClassifier

__all__ = ['Segmenter', 'encode_decode', 'image_sizes', 'load_weights', 'usable_device', 'usual_batch']


class Segmenter(PixelClassifier):
    """Segmentation model of a config with the weights of a checkpoint.

    ``segmenter(image)`` is a class map. ``window`` is the crop of the config's slide inference, or 512 px.

    Args:
        config: Config of the fine-tuning run; the model of a run with a ``--budget`` is taken from its checkpoint.
        checkpoint: Checkpoint file, work dir or address.
        device: None: a GPU if there is one.
        tta: Average over the image and its two mirror images: three times the time.
        trust: Unpickle everything in the checkpoint, which can run code of its author.
        cfg_options: Settings of the config that are overridden: 'model.test_cfg.crop_size' -> value.

    Raises:
        CheckpointError: Unreadable checkpoint, or its weights are not those of the model.
        ValueError: No segmentation config, a binary head with one output, different numbers of classes, or a device
            that is not there.
    """

    def __init__(self, config: str | Path | Config, checkpoint: str | Path, device: str | torch.device | None = None,
                 tta: bool = False, trust: bool = False, cfg_options: dict[str, Any] | None = None) -> None:
        cfg = copy.deepcopy(config) if isinstance(config, Config) else Config.fromfile(str(config))
        path = resolve_source(str(checkpoint))
        saved = read_checkpoint(path, trust)
        take_preset_model(cfg, saved, path)
        if cfg_options:
            cfg.merge_from_dict(cfg_options)
        name = Path(cfg.filename or 'the config').name
        wanted = (cfg.get('optim_wrapper') or {}).get('precision', 'float32')
        self.device = usable_device(device)
        self.tta = tta
        # as the run was trained; a config without our optimizer wrapper knows float32 alone
        self.precision = 'float32' if wanted == 'float32' else 'auto'
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmseg'):
            model = MODELS.build(cfg.model)
            self.classes, self.palette = _class_names(cfg)
        if not hasattr(model, 'encode_decode'):
            raise ValueError(f'{name} is no segmentation config: its model is {cfg.model.type}')
        if model.out_channels != len(self.classes) or not 1 < model.out_channels <= 255:
            raise ValueError(f'{name}: the head has {model.out_channels} outputs for {len(self.classes)} classes; maps '
                             'need one for each, from 2 to 255')
        load_weights(model, saved.get('state_dict', {}), path)
        if hasattr(model, 'deployed'):  # of student and teacher the one that predicts
            model = model.deployed()
        self.weights_sha256 = file_sha256(path)
        # a tenth less time for convolutions on a CPU
        self.model = model.eval().to(self.device, memory_format=torch.channels_last)
        self.bands = cfg.model.backbone.get('in_channels', 3)
        self.window = max((cfg.model.get('test_cfg') or {}).get('crop_size') or (512, ))

    def inputs(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        # the loaders of training give BGR
        ordered = [swap_rgb_bgr(image) for image in images]
        batch = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in ordered]
        return self.model.data_preprocessor(dict(inputs=batch), False)['inputs']

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        with autocast_for(self.device, self.precision):
            return encode_decode(self.model, inputs, len(inputs))


def image_sizes(height: int, width: int) -> dict[str, Any]:
    """What heads of MMSegmentation are told about an image that is neither resized nor padded, px."""
    size = (height, width)
    return dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0] * 4)


def encode_decode(model: nn.Module, inputs: torch.Tensor, images: int) -> torch.Tensor:
    """Logits of a segmentor of MMSegmentation.

    Args:
        model: The segmentor.
        inputs: (n, bands, H, W) float32, normalised.
        images: For how many images the sizes are handed on: n, or 1 where n is a symbol; most heads read the first.

    Returns:
        (n, K, H, W) float32.
    """
    return model.encode_decode(inputs, [image_sizes(*inputs.shape[2:])] * images).float()


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; None: a GPU if there is one.

    Raises:
        ValueError: There is no such device, or it cannot be used.
    """
    try:
        device = torch.device(name or ('cuda' if torch.cuda.is_available() else 'cpu'))
        torch.empty(1, device=device)
    except (AssertionError, RuntimeError) as error:  # without CUDA in the build it is an AssertionError
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f'device {name} cannot be used ({reason}): give --device cpu, or another') from error
    return device


def usual_batch(device: torch.device) -> int:
    """Windows at once: several fill a GPU; a CPU they save nothing, and push out of its caches."""
    return 1 if device.type == 'cpu' else 8


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Give a segmentor the weights of a checkpoint, all of them.

    Raises:
        CheckpointError: They are others; it says which.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # its message has a line for every tensor
        theirs, ours = ({key: tuple(value.shape) for key, value in state.items()}
                        for state in (weights, model.state_dict()))
        kinds = dict(missing=[key for key in ours if key not in theirs],
                     unknown=[key for key in theirs if key not in ours],
                     resized=[f'{key}: {theirs[key]} for {ours[key]}' for key in ours
                              if theirs.get(key, ours[key]) != ours[key]])
        differences = '; '.join(f'{len(keys)} {kind}, such as {keys[0]}' for kind, keys in kinds.items() if keys)
        raise CheckpointError(f"{path} does not hold the weights of this config's model (a pretraining checkpoint, or "
                              'another arch or number of classes? A run leaves the config that fits in its work dir). '
                              f'Tensors: {differences}') from error


def _class_names(cfg: Config) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and colours, from the test data's metainfo, else from the class of the data set."""
    dataset = (cfg.get('test_dataloader') or cfg.get('train_dataloader') or {}).get('dataset') or {}
    metainfo = declared_metainfo(dataset)
    names = tuple(metainfo.get('classes') or ())
    if metainfo.get('palette'):
        packed = [parse_color(color) for color in metainfo['palette']]
        return names, np.array([[c >> 16, c >> 8 & 255, c & 255] for c in packed], np.uint8)
    return names, np.array(default_palette(len(names)), np.uint8).reshape(-1, 3)
