"""``--cfg-options`` that would do nothing: names with a typo, variables of a config file."""
import inspect
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from .launch_error import LaunchError

__all__ = ['check_option_names']

# Read from the top level of a config besides the arguments of the Runner: by MMEngine, and by this package
_READ = {'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters',
         'model_wrapper_cfg', 'sync_bn', 'backbone_source', 'dev_tiles', 'lr_factor_from_scratch', 'carry_heads',
         'trust_checkpoint', 'tta_model', 'tta_pipeline'}
_LOADER = {'dataset', 'sampler', 'batch_sampler', 'num_batch_per_epoch'}
# Parts of a config that have no type of their own: what reads them, and names that it takes besides its arguments
_UNTYPED: dict[str, tuple[tuple, set[str]]] = {
    '': ((Runner, ), _READ),
    'train_cfg': ((IterBasedTrainLoop, ), {'by_epoch'}),
    'val_cfg': ((ValLoop, ), set()),
    'test_cfg': ((TestLoop, ), set()),
    'log_processor': ((LogProcessor, ), set()),
    'train_dataloader': ((DataLoader, ), _LOADER),
    'val_dataloader': ((DataLoader, ), _LOADER),
    'test_dataloader': ((DataLoader, ), _LOADER),
    'optim_wrapper': ((OptimWrapper, AmpOptimWrapper), {'constructor', 'optimizer', 'paramwise_cfg'}),
    'randomness': ((Runner.set_randomness, ), set()),
    'env_cfg': ((), {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    'env_cfg.mp_cfg': ((), {'mp_start_method', 'opencv_num_threads'}),
    'auto_scale_lr': ((), {'enable', 'base_batch_size'}),
    'default_hooks': ((), {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}),
}
# The registry of a typed part, by the last name in its path; everything else is a model
_REGISTRIES = {
    'dataset': 'DATASETS', 'sampler': 'DATA_SAMPLERS', 'pipeline': 'TRANSFORMS', 'transforms': 'TRANSFORMS',
    'tta_pipeline': 'TRANSFORMS', 'optimizer': 'OPTIMIZERS', 'optim_wrapper': 'OPTIM_WRAPPERS',
    'param_scheduler': 'PARAM_SCHEDULERS', 'default_hooks': 'HOOKS', 'custom_hooks': 'HOOKS', 'train_cfg': 'LOOPS',
    'val_cfg': 'LOOPS', 'test_cfg': 'LOOPS', 'val_evaluator': 'METRICS', 'test_evaluator': 'METRICS',
    'visualizer': 'VISUALIZERS', 'vis_backends': 'VISBACKENDS', 'init_cfg': 'WEIGHT_INITIALIZERS',
    'log_processor': 'LOG_PROCESSORS'}
# Taken out by whoever builds the part, before the class sees them
_BUILDERS_OWN = {
    'HOOKS': {'priority'}, 'PARAM_SCHEDULERS': {'convert_to_iter_based'}, 'WEIGHT_INITIALIZERS': {'override', 'layer'},
    'MODELS': {'init_cfg', 'requires_grad'}, 'OPTIM_WRAPPERS': {'constructor', 'optimizer', 'paramwise_cfg'}}


def check_option_names(cfg: Config, options: dict[str, Any]) -> None:
    """Refuse an option whose name nothing would read.

    A name passes if the config has it, or if it is an argument of what is built there: the class that ``type`` names
    (with those of its parents, where they are handed on), the Runner, a loop, a loader. New entries of
    ``default_hooks`` need a ``type`` among the options. Where arguments are not known, only a name that
    resembles one of its neighbours is refused. Variables of a config file that were copied into the parts that are read
    are refused, too: changing the variable changes nothing.

    Args:
        cfg: The config before the options are merged.
        options: {dotted name: value}, as MMEngine's ``DictAction`` gives them.

    Raises:
        LaunchError: The first such name, with the nearest one that exists.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        for name in options:
            _check_name(cfg, name, options)


def _check_name(cfg: Config, name: str, options: dict[str, Any]) -> None:
    node, path = cfg._cfg_dict, []
    keys = name.split('.')
    for at, key in enumerate(keys):
        here, rest = '.'.join(path), keys[at + 1:]
        if isinstance(node, (list, tuple)):
            if not key.isdigit():
                raise LaunchError(f'--cfg-options {name}: {here} is a list of {len(node)}; name the element by its '
                                  f'number: {".".join([here, "0", key, *rest])}')
            if int(key) >= len(node):
                raise LaunchError(f'--cfg-options {name}: {here} has the elements 0 to {len(node) - 1}')
            node = node[int(key)]
        elif not isinstance(node, dict):
            raise LaunchError(f'--cfg-options {name}: {here} is {node!r}, it has no {key}')
        elif key in node:
            node = node[key]
        else:
            _check_new(cfg, node, path, key, rest, options)
            node = {}
        path.append(key)
    _check_variable(cfg, name, node)


def _check_new(cfg: Config, node: dict, path: list[str], key: str, rest: list[str], options: dict[str, Any]) -> None:
    """A name that the config does not have yet."""
    here = '.'.join(path)
    if here == 'default_hooks' and f'default_hooks.{key}.type' in options:
        return
    known, complete = _arguments(node, path, options)
    neighbours = sorted(known | set(node))
    if key in known or not complete and not _resembles(key, neighbours):
        return
    near = get_close_matches(key, neighbours, 1)
    places = ['.'.join([*path, near[0], *rest])] if near else [
        place for place, _ in _leaves(cfg, read_only=True) if place.split('.')[-1] == ([key] + rest)[-1]]
    known_ones = 'there are ' + ', '.join(neighbours)
    advice = f'did you mean {" or ".join(places[:3])}?' if places else known_ones
    where = f'{here} has' if here else 'a config has'
    raise LaunchError(f'--cfg-options {".".join([*path, key, *rest])}: {where} no {key}; {advice}')


def _resembles(key: str, others: Sequence[str]) -> bool:
    """Whether it is a slip of another name; norm2 for norm1 and full_seg_map_path for seg_map_path are none."""
    letters = re.sub(r'\d', '', key)
    return any(re.sub(r'\d', '', other) != letters and abs(len(other) - len(key)) <= 2
               for other in get_close_matches(key, others, 3, 0.8))


def _arguments(node: dict, path: list[str], options: dict[str, Any]) -> tuple[set[str], bool]:
    """Names that a part of a config takes, and whether these are all."""
    here = '.'.join(path)
    if here == 'optim_wrapper.paramwise_cfg' or path[-1:] == ['custom_keys']:
        return set(), False
    kind = options.get(f'{here}.type', node.get('type'))
    if kind is None:
        readers, more = _UNTYPED.get(here, ((), set()))
        return set(more).union(*(_parameters(reader)[0] for reader in readers)) | {'type', '_delete_'}, here in _UNTYPED
    parts = path[-1:] if path[0] in ('model', 'tta_model') else path[::-1]
    role = next((_REGISTRIES[part] for part in parts if part in _REGISTRIES), 'MODELS')
    if isinstance(kind, str):
        with getattr(registry, role).switch_scope_and_registry(node.get('_scope_')) as scoped:
            kind = scoped.get(kind)
    names, complete = _parameters(kind) if kind is not None else (set(), False)
    if here == 'optim_wrapper':  # --amp makes one of the other
        names |= _parameters(AmpOptimWrapper)[0]
    return names | _BUILDERS_OWN.get(role, set()) | {'type', '_delete_', '_scope_'}, complete


def _parameters(reader: Any) -> tuple[set[str], bool]:
    """Arguments of a class (with those of parents they are handed on to) or function; whether these are all."""
    makers = [base.__init__ for base in reader.__mro__ if '__init__' in vars(base)] if inspect.isclass(reader) else [
        reader]
    names: set[str] = set()
    for maker in makers:
        if maker is object.__init__:
            break
        found = inspect.signature(maker).parameters.values()
        names |= {one.name for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)} - {'self'}
        if not any(one.kind is one.VAR_KEYWORD for one in found):
            return names, True
    return names, False


def _check_variable(cfg: Config, name: str, value: Any) -> None:
    first, last = name.split('.')[0], name.split('.')[-1]
    if first in _arguments({}, [], {})[0]:
        return
    copies = [place for place, other in _leaves(cfg, read_only=True) if place.split('.')[-1] == last and other == value]
    copies = copies or [place for place, other in _leaves(cfg, read_only=True)
                        if isinstance(other, (dict, list)) and other == cfg[first]]
    if copies:
        rest = name[len(first):] if copies[0].split('.')[-1] != last else ''
        raise LaunchError(f'--cfg-options {name}: {first} is a variable of the config file, which was copied when the '
                          f'file was read; did you mean {" or ".join(place + rest for place in copies[:3])}?')


def _leaves(cfg: Config, read_only: bool = False) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in a config, parts before what is in them."""
    read = _arguments({}, [], {})[0]
    waiting = [(key, value) for key, value in cfg._cfg_dict.items() if not read_only or key in read]
    while waiting:
        name, value = waiting.pop(0)
        yield name, value
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
            value, (list, tuple)) else ()
        waiting += [(f'{name}.{key}', one) for key, one in inside]
