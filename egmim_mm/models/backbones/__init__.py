from .masked_swin import MaskedSwinTransformer
from .masked_swin_v2 import MaskedSwinTransformerV2

__all__ = ['MaskedSwinTransformer', 'MaskedSwinTransformerV2']
