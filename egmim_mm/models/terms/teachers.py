"""Networks that look at whole images and give targets; they never learn by gradients.

All their tensors are buffers: no optimizer has them, and they move to the device with the model.
"""
import copy
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ['TimmTeacher', 'copy_weights', 'frozen_copy']


def freeze(network: nn.Module, saved: bool = True) -> nn.Module:
    """Turn all parameters into buffers, in place; ``saved``: whether checkpoints hold them."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
        if not saved:
            module._non_persistent_buffers_set.update(module._buffers)
    network.eval()  # Swin's returns nothing
    return network


def frozen_copy(backbone: nn.Module, stages: Sequence[int]) -> nn.Module:
    """A masked Swin with the weights of ``backbone``, without mask token, that returns those of ``stages`` that it has
    norms for; ``every_stage`` gives the others."""
    teacher = copy.deepcopy(backbone)
    teacher.keep_stages(*stages)
    teacher.out_indices = tuple(i for i in teacher.out_indices if hasattr(teacher, f'norm{i}'))
    return freeze(teacher)


@torch.no_grad()
def copy_weights(teacher: nn.Module, backbone: nn.Module, momentum: float = 0.0) -> None:
    """teacher = momentum teacher + (1 - momentum) backbone, for what the teacher has."""
    weights = backbone.state_dict()
    for name, buffer in teacher.state_dict().items():
        if buffer.is_floating_point():
            buffer.lerp_(weights[name].to(buffer.dtype), 1 - momentum)
        else:
            buffer.copy_(weights[name])


class TimmTeacher(nn.Module):
    """Any network of timm, frozen: images -> its last feature map. DINOv2, DINOv3, ConvNeXt, ...

    Checkpoints of the run do not hold its weights: the file is read again when the run is resumed.

    Args:
        name: Of the model in timm.
        weights: File with its weights (``.pth``, ``.safetensors``), as timm or the authors publish them for it.
        scale: Side of the images it sees, as a share of the student's, rounded to whole patches. 2 gives a network of
            stride 32 the map of stage 3.
        bands: Bands of the student's images, in RGB order.

    Raises:
        ImportError: timm is not installed.
        FileNotFoundError: No such file.
        ValueError: Unknown name, a network without feature maps, weights of another network, or other bands than 3.
    """

    def __init__(self, name: str, weights: str, scale: float = 1.0, bands: int = 3) -> None:
        super().__init__()
        try:
            import timm  # an optional dependency
        except ImportError as error:
            raise ImportError("TeacherTerm(teacher=dict(type='timm', ...)) needs timm: pip install timm") from error
        if not Path(weights).is_file():
            raise FileNotFoundError(f'teacher.weights = {weights}: no such file. Download the weights of {name} and '
                                    'give their path')
        if not timm.is_model(name):
            raise ValueError(f'teacher.name = {name!r} is no model of timm {timm.__version__}: '
                             "timm.list_models('*dino*') lists names")
        if bands != 3 or scale <= 0:
            raise ValueError(f'a teacher of timm sees RGB images at a scale above 0, here are {bands} bands and '
                             f'scale={scale}')
        try:
            network = timm.create_model(name, num_classes=0, dynamic_img_size=True)
        except TypeError:  # only networks with position tables have that option
            network = timm.create_model(name, num_classes=0)
        if not hasattr(network, 'forward_intermediates'):
            raise ValueError(f'teacher.name = {name!r}: timm {timm.__version__} gives no feature maps of it')
        try:
            keys = timm.models.load_checkpoint(network, weights, strict=False, weights_only=True)
        except (RuntimeError, KeyError) as error:  # other shapes
            raise ValueError(f'teacher.weights = {weights} are not of {name}: '
                             f'{" ".join(str(error).split())[:200]}') from error
        # classifiers, which files may hold, are no part of the teacher; blocks are
        wrong = keys.missing_keys + [key for key in keys.unexpected_keys if re.search('block|stage|layer', key)]
        if wrong:
            raise ValueError(f'teacher.weights = {weights} are not of {name}: {len(wrong)} tensors are missing or '
                             f'unknown, {wrong[0]} is one')
        mean, std = (torch.tensor(network.pretrained_cfg[key]).view(-1, 1, 1) for key in ('mean', 'std'))
        self.network, self.scale = network, scale
        patch = getattr(getattr(network, 'patch_embed', None), 'patch_size', 32)
        self.patch = patch if isinstance(patch, int) else patch[0]
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        freeze(self, saved=False)
        with torch.no_grad():  # num_features is the width after a last convolution that maps do not have
            self.channels = self(torch.zeros(1, 3, 64, 64)).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, channels, h, w), after the network's last norm where it has one."""
        size = [max(1, round(side * self.scale / self.patch)) * self.patch for side in images.shape[-2:]]
        if size != list(images.shape[-2:]):
            images = nn.functional.interpolate(images, size=size, mode='bicubic', antialias=True).clamp(0, 1)
        return self.network.forward_intermediates(
            (images - self.mean) / self.std, indices=1, norm=True, intermediates_only=True)[-1]
