"""Loss terms of the tests' models."""
PIXEL = dict(type='egmim_mm.PixelTerm', gamma=1.0)
STRUCTURE = dict(type='egmim_mm.StructureTerm', channels=8, weight=0.5)
GRADIENT = dict(type='egmim_mm.GradientTerm', weight=0.25)
ANCHOR = dict(type='egmim_mm.AnchorTerm', weight=1.0)
EVERYTHING = [PIXEL, STRUCTURE, GRADIENT, ANCHOR]
