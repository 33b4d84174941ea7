"""Do the parts of a model fit together, and the images to them?"""
from collections.abc import Iterable, Sequence

from torch import nn

from egmim_mm.masking import UNIFORM_POLICIES

from .terms import LossTerm, PixelTerm, TeacherTerm

_PIXELS = "model.terms=[dict(type='egmim_mm.PixelTerm', gamma=1.0), ...]"
_WRITE_NOW = dict(
    head=f'{_PIXELS}; its channels follow from the backbone',
    structure_head="dict(type='egmim_mm.StructureTerm', hog_bins=9) in model.terms, or leave it out there; its "
    'channels follow from the backbone',
    structure_weight="dict(type='egmim_mm.StructureTerm', weight=0.5) in model.terms",
    grad_weight="dict(type='egmim_mm.GradientTerm', weight=0.5) in model.terms",
    anchor="dict(type='egmim_mm.AnchorTerm', weight=1.0) in model.terms",
    rescale_at='model.balance=dict(rescale_at=200)')


def refuse_old_settings(settings: Iterable[str]) -> None:
    """Say what to write now.

    Raises:
        ValueError: A setting of a version before the loss terms were a list.
        TypeError: Any other.
    """
    for name in settings:
        if name in _WRITE_NOW:
            raise ValueError(f'model.{name} is no setting any more, the loss terms are a list: write '
                             f'{_WRITE_NOW[name]}')
        raise TypeError(f'EGMIM has no setting {name!r}')


def refuse_old_weights(names: Iterable[str], prefix: str) -> None:
    """Refuse a whole model of a version before the loss terms were a list.

    Raises:
        ValueError: The checkpoint holds one.
    """
    if f'{prefix}term_scale' in names:
        raise ValueError('the checkpoint is of a pretraining run of an earlier version, whose loss terms have other '
                         'names: it cannot be resumed. Start a new run from its backbone with --backbone')


def check_terms(terms: Sequence[nn.Module]) -> None:
    """Raises:
        ValueError: No pixel term, two of one name, or one that stands before a term whose prediction it reads.
        TypeError: Something that is no :class:`LossTerm`.
    """
    names, losses = [], []
    for term in terms:
        if not isinstance(term, LossTerm):
            raise TypeError(f'model.terms holds a {type(term).__name__}, which is no egmim_mm.models.LossTerm')
        missing = [name for name in term.reads if name not in names]
        if missing:
            raise ValueError(f'{type(term).__name__} reads the prediction of the term {missing[0]!r}: put that before '
                             'it in model.terms')
        if term.name in names or set(term.loss_names) & set(losses):
            raise ValueError(f'model.terms holds the term or loss {term.name!r} twice')
        names.append(term.name)
        losses += term.loss_names
    if not any(isinstance(term, PixelTerm) for term in terms):
        raise ValueError('model.terms needs a PixelTerm, to whose loss the others are scaled: write ' + _PIXELS)


def read_stages(terms: Sequence[LossTerm], backbone: dict) -> tuple[int, ...]:
    """Indices of the stages that the terms read, in order.

    Raises:
        ValueError: The backbone's config asks for others.
    """
    stages = tuple(sorted({stage for term in terms for stage in term.stages}))
    given = backbone.get('out_indices')
    if given is not None and tuple(sorted(given)) != stages:
        raise ValueError(f'model.backbone.out_indices is {tuple(given)}, but the terms read the stages {stages}: leave '
                         'it out, it follows from model.terms')
    return stages


def find_guide(terms: Sequence[LossTerm], edge_prior: nn.Module) -> TeacherTerm | None:
    """The teacher that looks at whole images before they are masked: the first, if something asks for it.

    Raises:
        ValueError: There is none, it guides nothing and has no loss, or a stage is asked for that it does not have.
    """
    asking = [(type(term).__name__, stage) for term in terms for stage in term.looks_at]
    if edge_prior.stage is not None:
        asking.append(("model.edge_prior.operator='features'", edge_prior.stage))
    teachers = [term for term in terms if isinstance(term, TeacherTerm)]
    if asking and not teachers:
        raise ValueError(f"{asking[0][0]} needs a teacher: add dict(type='egmim_mm.TeacherTerm', loss='none') to "
                         "model.terms (with another loss it is a term as well)")
    idle = [term for term in teachers[1 if asking else 0:] if not term.loss_names]
    if idle:
        raise ValueError(f"the TeacherTerm {idle[0].name} with loss='none' guides nothing: leave it out, or put it "
                         'before other TeacherTerms and add a HardnessTerm or model.edge_prior.operator=features')
    for name, stage in asking:
        if stage > teachers[0].last:
            raise ValueError(f'{name} reads stage {stage} of the teacher, which has stages up to {teachers[0].last}: '
                             f'set stages=({stage}, ) of TeacherTerm, or stage={teachers[0].last} there')
    return teachers[0] if asking else None


def check_bands(backbone: nn.Module, preprocessor: nn.Module) -> int:
    """Compare the bands of the backbone and of the data preprocessor.

    Returns:
        Number of bands.

    Raises:
        ValueError: Names the two settings that differ.
    """
    bands = backbone.patch_embed.projection.in_channels
    given = len(getattr(preprocessor, 'mean', ()))
    if given not in (1, bands):
        raise ValueError(f'backbone.in_channels is {bands}, data_preprocessor.mean has {given} values: give mean and '
                         'std one value per band')
    if preprocessor._channel_conversion and bands != 3:
        raise ValueError(f'backbone.in_channels is {bands}, but data_preprocessor.bgr_to_rgb=True is for three bands: '
                         'set it to False')
    return bands


def check_encoding(backbone: nn.Module, mask_generator: nn.Module, decoder: dict | None) -> None:
    """Compare how the backbone encodes masked images with the masks and the decoder.

    Raises:
        ValueError: Names the settings that do not fit together.
    """
    if backbone.encode == 'dense':
        if decoder is not None:
            raise ValueError("model.decoder is for model.backbone.encode='visible' alone: leave it out, or set that")
        return
    policy = mask_generator.options['policy']
    if policy not in UNIFORM_POLICIES:
        raise ValueError("model.backbone.encode='visible' needs masks that keep one cell of every 2 x 2 block: set "
                         f'model.mask_generator.policy to {" or ".join(UNIFORM_POLICIES)}, not {policy}, and its '
                         'ratio to 0.75')
    if set(mask_generator.cell_sizes) != {backbone.cell_size}:
        raise ValueError(f'model.backbone.cell_size is {backbone.cell_size} px, that of model.mask_generator '
                         f'{", ".join(map(str, mask_generator.cell_sizes))} px: give both the same')
    if backbone.mask_token is None:
        raise ValueError("model.backbone.encode='visible' needs use_mask_token=True: the decoder puts the mask token "
                         'in the places of hidden cells')


def check_size(size: tuple[int, int], stride: int) -> None:
    """Refuse images (height, width) from which the pixel head, with its ``stride``, could not predict all pixels.

    Raises:
        ValueError: A side is no multiple of the stride.
    """
    height, width = size
    if height % stride or width % stride:
        raise ValueError(f'image size {height} x {width} px must be divisible by {stride} px, the stride of the last '
                         'stage: set the crop size of the pipeline')
