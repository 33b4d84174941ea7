"""Child registries of the MMEngine root registries.

Every component of this package is registered here under the scope ``egmim_mm``, so a config names it
``egmim_mm.<Class>``. MMEngine imports ``egmim_mm.registry`` when it meets that prefix and the modules
in ``locations`` when it looks a name up: a config needs no ``custom_imports``.
"""
from mmengine import registry as root

__all__ = [
    'MODELS', 'DATASETS', 'DATA_SAMPLERS', 'TRANSFORMS', 'METRICS', 'HOOKS', 'LOOPS', 'VISUALIZERS',
    'WEIGHT_INITIALIZERS', 'OPTIM_WRAPPERS', 'OPTIM_WRAPPER_CONSTRUCTORS', 'FUNCTIONS'
]


def _child(parent: root.Registry, *locations: str) -> root.Registry:
    modules = [f'egmim_mm.{name}' for name in locations]
    return root.Registry(parent.name, parent=parent, scope='egmim_mm', locations=modules)


MODELS = _child(root.MODELS, 'models')
DATASETS = _child(root.DATASETS, 'datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'datasets')
METRICS = _child(root.METRICS, 'evaluation')
HOOKS = _child(root.HOOKS, 'engine', 'evaluation')
LOOPS = _child(root.LOOPS, 'engine')
VISUALIZERS = _child(root.VISUALIZERS, 'engine')
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, 'checkpoints')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
FUNCTIONS = _child(root.FUNCTIONS, 'datasets')
