"""Ranges of the settings of a mean teacher."""

__all__ = ['check_ranges']


def check_ranges(threshold: float, weight: float, ramp_up: float, momentum: float,
                 feature_dropout: float | None) -> None:
    """Raises:
        ValueError: One out of its range, see :class:`~egmim_mm.models.segmentors.MeanTeacherSegmentor`.
    """
    if not 0 < threshold < 1:
        raise ValueError(f'model.threshold is {threshold}: a probability above 0 and below 1, such as 0.95')
    if not 0 < weight <= 1:
        raise ValueError(f'model.weight of the unlabelled loss is {weight}: above 0 and at most 1')
    if not 0 <= ramp_up <= 1 or not 0 <= momentum < 1:
        raise ValueError(f'model.ramp_up={ramp_up} must be a share of the run, in 0..1, and momentum={momentum} in '
                         '[0, 1)')
    if feature_dropout is not None and not 0 < feature_dropout < 1:
        raise ValueError(f'model.feature_dropout is {feature_dropout}: a share of the channels above 0 and below 1, '
                         'such as 0.5, or None')
