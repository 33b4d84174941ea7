import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from egmim_mm.models import LabelledCrossEntropyLoss
from egmim_mm.registry import HOOKS


@HOOKS.register_module()
class ClassWeightsHook(Hook):
    """Weigh the classes in :class:`LabelledCrossEntropyLoss` of all heads by how rare they are in the labelled tiles.

    A class of the share p of the labelled pixels gets the weight ``p ** -power``, scaled so that the mean over labelled
    pixels is 1; a class without pixels gets 1. They follow from the choice of tiles and stand in no checkpoint. A
    ``class_weight`` of the losses, which was made for other tiles, is replaced; the log says so.

    Args:
        power: 0: none; 1: every class counts as much as any other; 0.5: between.

    Raises:
        ValueError: A power out of 0..1. Before training: a data set that does not count its classes, or heads without
            :class:`LabelledCrossEntropyLoss`.
    """

    def __init__(self, power: float = 0.5) -> None:
        if not 0 <= power <= 1:
            raise ValueError(f'ClassWeightsHook: power must be in 0..1, got {power}')
        self.power = power

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if not hasattr(loader.dataset, 'class_pixels'):
            raise ValueError(f'ClassWeightsHook needs a data set that counts its classes, such as SegmentationTiles; '
                             f'{type(loader.dataset).__name__} does not')
        labelled = getattr(loader.sampler, 'members', slice(None))  # a sampler without a label budget: all
        weights = class_weights(loader.dataset.class_pixels()[labelled].sum(0), self.power)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        losses = [module for module in model.modules() if isinstance(module, LabelledCrossEntropyLoss)]
        if not losses:
            raise ValueError('ClassWeightsHook sets the weights of egmim_mm.LabelledCrossEntropyLoss, and no head has '
                             'this loss: give them loss_decode.type=egmim_mm.LabelledCrossEntropyLoss, or leave the '
                             'hook out')
        for loss in losses:
            loss.factors = torch.as_tensor(weights, dtype=torch.float32, device=next(model.parameters()).device)
        classes = loader.dataset.metainfo['classes']
        replaced = any(loss.class_weight is not None for loss in losses)
        runner.logger.info('Class weights: ' + ', '.join(f'{name} {w:.3g}' for name, w in zip(classes, weights))
                           + ' (in place of class_weight in the config)' * replaced)


def class_weights(pixels: np.ndarray, power: float) -> np.ndarray:
    """(K, ) labelled pixels of each class -> (K, ) weights, see :class:`ClassWeightsHook`."""
    shares = pixels / max(pixels.sum(), 1)
    weights = np.where(shares > 0, np.maximum(shares, 1e-12)**-power, 0.0)
    weights /= max((weights * shares).sum(), 1e-12)
    return np.where(shares > 0, weights, 1.0)
