"""Classes of the synthetic aerial scenes, in the order of the mask values."""

CLASSES = ('impervious', 'building', 'low_vegetation', 'tree', 'car', 'water', 'clutter')
PALETTE = [
    [255, 255, 255],  # impervious: roads, pavements, squares, yards
    [0, 0, 255],      # building: every roof and what stands on it
    [0, 255, 255],    # low_vegetation: grass, crops, bare soil, river banks
    [0, 255, 0],      # tree: crowns and hedges
    [255, 255, 0],    # car: cars, vans, lorries
    [0, 96, 128],     # water: rivers, ponds, pools
    [255, 0, 0],      # clutter: containers, heaps, courts, stored goods
]
METAINFO = dict(classes=CLASSES, palette=PALETTE)

IMPERVIOUS, BUILDING, LOW_VEGETATION, TREE, CAR, WATER, CLUTTER = range(7)
