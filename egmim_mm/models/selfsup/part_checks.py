"""Do the parts of a model fit together, and the images to them?"""
from torch import nn


def check_parts(backbone: nn.Module, head: nn.Module, structure_head: nn.Module | None, preprocessor: nn.Module) -> int:
    """Compare stages, channels and bands of the parts of EGMIM.

    Returns:
        int: Number of bands.

    Raises:
        ValueError: Names the two settings that differ.
    """
    read = {3} if structure_head is None else {0, 1, 3}
    if not read <= set(backbone.out_indices):
        raise ValueError(f'the heads read the stages {sorted(read)}, the backbone returns out_indices='
                         f'{backbone.out_indices}')
    channels = tuple(backbone.num_features)
    if head.in_channels != channels[3]:
        raise ValueError(f'head.in_channels is {head.in_channels}, the last stage of the backbone has {channels[3]} '
                         'channels')
    if structure_head is not None and structure_head.in_channels != channels[:2]:
        raise ValueError(f'structure_head.in_channels is {structure_head.in_channels}, stages 1 and 2 of the backbone '
                         f'have {channels[:2]} channels')

    bands = backbone.patch_embed.projection.in_channels
    if head.out_channels != bands:
        raise ValueError(f'backbone.in_channels is {bands}, head.out_channels is {head.out_channels}: the head '
                         'predicts every band, set both to their number')
    given = len(getattr(preprocessor, 'mean', ()))
    if given not in (1, bands):
        raise ValueError(f'backbone.in_channels is {bands}, data_preprocessor.mean has {given} values: give mean and '
                         'std one value per band')
    if preprocessor._channel_conversion and bands != 3:
        raise ValueError(f'backbone.in_channels is {bands}, but data_preprocessor.bgr_to_rgb=True is for three bands: '
                         'set it to False')
    return bands


def check_size(size: tuple[int, int], stride: int) -> None:
    """Refuse images (height, width) from which the pixel head, with its ``stride``, could not predict all pixels.

    Raises:
        ValueError: A side is no multiple of the stride.
    """
    height, width = size
    if height % stride or width % stride:
        raise ValueError(f'image size {height} x {width} px must be divisible by {stride} px, the stride of the last '
                         'stage: set the crop size of the pipeline')
