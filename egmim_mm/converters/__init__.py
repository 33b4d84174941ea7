"""From downloads and rasters to trainable tiles: one module for each data set, started by tools/dataset_converters."""
