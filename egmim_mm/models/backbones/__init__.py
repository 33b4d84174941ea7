from .masked_swin import MaskedSwinTransformer

__all__ = ['MaskedSwinTransformer']
