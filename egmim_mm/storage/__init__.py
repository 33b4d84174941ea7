"""Reading pixels: files, tar shards, rasters, masks, bands and their scaling."""
