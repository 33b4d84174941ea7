"""Class sets of the four benchmarks: names and palettes as mmsegmentation shows them, numbers as in the mask files."""
__all__ = ['ISAID_16', 'ISPRS_5', 'ISPRS_6', 'LOVEDA_7']

_ISPRS = dict(
    classes=('impervious_surface', 'building', 'low_vegetation', 'tree', 'car', 'clutter'),
    palette=[[255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]])

# mask_values and ignore_values are those of the converted tiles; see SegmentationTiles
ISPRS_6 = dict(metainfo=_ISPRS, mask_values=(1, 2, 3, 4, 5, 6), ignore_values=(0, ))
ISPRS_5 = dict(metainfo={key: value[:5] for key, value in _ISPRS.items()}, mask_values=(1, 2, 3, 4, 5),
               ignore_values=(0, 6))

LOVEDA_7 = dict(
    metainfo=dict(
        classes=('background', 'building', 'road', 'water', 'barren', 'forest', 'agricultural'),
        palette=[[255, 255, 255], [255, 0, 0], [255, 255, 0], [0, 0, 255], [159, 129, 183], [0, 255, 0],
                 [255, 195, 128]]),
    mask_values=(1, 2, 3, 4, 5, 6, 7),
    ignore_values=(0, ))

ISAID_16 = dict(
    metainfo=dict(
        classes=('background', 'ship', 'store_tank', 'baseball_diamond', 'tennis_court', 'basketball_court',
                 'ground_track_field', 'bridge', 'large_vehicle', 'small_vehicle', 'helicopter', 'swimming_pool',
                 'roundabout', 'soccer_ball_field', 'plane', 'harbor'),
        palette=[[0, 0, 0], [0, 0, 63], [0, 63, 63], [0, 63, 0], [0, 63, 127], [0, 63, 191], [0, 63, 255],
                 [0, 127, 63], [0, 127, 127], [0, 0, 127], [0, 0, 191], [0, 0, 255], [0, 191, 127], [0, 127, 191],
                 [0, 127, 255], [0, 100, 155]]),
    mask_values=tuple(range(16)),
    ignore_values=())
