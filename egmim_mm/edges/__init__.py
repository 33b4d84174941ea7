"""Where edges are: images -> edge strength in [0, 1]. Pure functions of tensors, no registry, no configuration."""
from .features import feature_response, supported_places
from .floor import floor_of, top_responses
from .geodesic import geodesic_distance, upsample_by_edges
from .operators import OPERATORS, image_gradient, image_quantile, luminance, operator_options, supported
from .prior import edge_prior, edge_response, hog, normalize_strength

__all__ = [
    'OPERATORS', 'edge_prior', 'edge_response', 'feature_response', 'floor_of', 'geodesic_distance', 'hog',
    'image_gradient', 'image_quantile', 'luminance', 'normalize_strength', 'operator_options', 'supported',
    'supported_places', 'top_responses', 'upsample_by_edges'
]
