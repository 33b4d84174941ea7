"""Linear read-outs of a few labelled tiles: which cells, their labels and features, the fit. Pure functions."""
from .balanced_sample import balanced_shares, draw_places, shares_of_groups, tile_generator
from .cells import labelled_windows, majority_labels, values_at, window_batches, window_starts
from .discriminant import fit_discriminant
from .folds import fold_shares, folds_of, kept_in
from .linear import channel_statistics, fit_logistic
from .pixel_filters import PER_BAND, SIGMAS, filtered_maps, shrunk_shape

__all__ = [
    'PER_BAND', 'SIGMAS', 'balanced_shares', 'channel_statistics', 'draw_places', 'filtered_maps',
    'fit_discriminant', 'fit_logistic', 'fold_shares', 'folds_of', 'kept_in', 'labelled_windows', 'majority_labels',
    'shares_of_groups', 'shrunk_shape', 'tile_generator', 'values_at', 'window_batches', 'window_starts'
]
