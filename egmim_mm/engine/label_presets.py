"""``--budget``: how many tiles are labelled, and the preset of settings that fits so many."""
import copy
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import reduce
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from egmim_mm.checks import LaunchError, check_option_names
from egmim_mm.datasets.label_budget import budget_count, parse_budget, select_tiles
from egmim_mm.registry import DATASETS

from .dev_part import use_dev_part

__all__ = ['NO_PRESET', 'apply_budget', 'choose_preset', 'preset_names', 'tell_preset']

NO_PRESET = 'none'
_DATA_OPTIONS = ('train_dataloader.', 'dev_tiles', 'label_presets')  # what decides how many tiles there are
_SHOWN = 60  # characters of a value


def apply_budget(cfg: Config, budget: str, preset: str | None = None, options: Mapping[str, Any] | None = None,
                 dev: bool = False) -> None:
    """Set the label budget of a config and merge the settings of its preset.

    What was done stands in ``cfg.label_preset`` afterwards: ``name`` (None: no preset), ``budget``, ``tiles`` (number
    of labelled tiles), ``settings`` (of the preset) and ``changes`` (those that the config had not, dotted).

    Args:
        cfg: Segmentation config as the file gives it; changed in place.
        budget: A count or a percentage, as typed.
        preset: Name of the preset; None: that of the number of tiles; ``'none'``: no settings.
        options: ``--cfg-options``, which are merged later, and win.
        dev: Whether the dev part will be taken out of the training part.

    Raises:
        ValueError: A budget that is none, or larger than the data.
        LaunchError: A config whose labels no budget chooses, presets that are none, an unknown name.
    """
    options = dict(options or {})
    wanted = parse_budget(budget)
    _check_sampler(cfg, options)
    cfg.merge_from_dict({key: value for key, value in options.items() if key.startswith('label_presets')})
    tiles = _labelled_tiles(cfg, budget, options, dev)
    name, settings = choose_preset(cfg.get('label_presets'), tiles, preset)
    flat = dict(_leaves(settings))
    try:
        check_option_names(cfg, flat)
    except LaunchError as error:
        raise LaunchError(str(error).replace('--cfg-options', f"label_presets, '{name}':", 1)) from None
    changes = {key: value for key, value in flat.items() if value != reduce(_child, key.split('.'), cfg._cfg_dict)}
    cfg.merge_from_dict(_mergeable(settings, cfg._cfg_dict))
    cfg.train_dataloader.sampler.budget = wanted if isinstance(wanted, int) else budget
    cfg.label_preset = dict(name=name, budget=cfg.train_dataloader.sampler.budget, tiles=tiles, settings=settings,
                            changes=changes)


def choose_preset(presets: Any, tiles: int, name: str | None = None) -> tuple[str | None, dict[str, Any]]:
    """Name and settings of the preset for a number of labelled tiles, or of the named one.

    Args:
        presets: ``label_presets`` of the config.
        tiles: Number of labelled tiles.
        name: See :func:`apply_budget`.

    Raises:
        LaunchError: Presets that are none, or an unknown name.
    """
    _check_presets(presets)
    if name == NO_PRESET:
        return None, {}
    known = {preset['name']: preset for one in presets for preset in (one, *one.get('alternatives', ()))}
    if name is not None and name not in known:
        raise LaunchError(f"--preset {name}: there are {', '.join(map(repr, known))} and '{NO_PRESET}'")
    chosen = known[name or preset_names(presets, tiles)[0]]
    return chosen['name'], copy.deepcopy(ConfigDict(chosen['settings']).to_dict())


def preset_names(presets: Sequence[Mapping[str, Any]], tiles: int) -> list[str]:
    """The preset for a number of labelled tiles, then its ``alternatives``, which ``--select`` compares with it."""
    chosen = next(preset for preset in presets if preset.get('up_to') is None or tiles <= preset['up_to'])
    return [preset['name'] for preset in (chosen, *chosen.get('alternatives', ()))]


def tell_preset(cfg: Config) -> None:
    """Log in one line what ``--budget`` has done; nothing without one."""
    chosen = cfg.get('label_preset')
    if not chosen:
        return
    changes = ', '.join(f'{key}={_shortened(value)}' for key, value in chosen.changes.items())
    preset = 'no preset' if chosen.name is None else f"preset '{chosen.name}', which sets {changes or 'nothing anew'}"
    tiles, length = (f'{number} {what}{"s" * (number != 1)}' for number, what in (
        (chosen.tiles, 'labelled tile'), (cfg.train_cfg.max_iters, 'iteration')))
    print_log(f'Budget {chosen.budget}: {tiles}, {length}; {preset}', logger='current')


def _check_sampler(cfg: Config, options: Mapping[str, Any]) -> None:
    loader = cfg.get('train_dataloader') or {}
    sampler = loader.get('sampler') or {}
    if not (cfg.get('model') or {}).get('decode_head'):
        raise LaunchError(f'--budget chooses labelled tiles, but {cfg.filename} has no model.decode_head: it '
                          'pretrains, which reads no labels. Leave --budget out')
    if not str(sampler.get('type')).endswith('LabelBudgetSampler'):
        raise LaunchError('--budget is for egmim_mm.LabelBudgetSampler, but train_dataloader.sampler is '
                          f'{sampler.get("type")}: set train_dataloader.sampler=dict(_delete_=True, '
                          "type='egmim_mm.LabelBudgetSampler', budget=1.0, seed=0)")
    if 'train_dataloader.sampler.budget' in options:
        raise LaunchError('--budget and --cfg-options train_dataloader.sampler.budget both say how many tiles are '
                          'labelled: give one of them')


def _check_presets(presets: Any) -> None:
    if not isinstance(presets, Sequence) or isinstance(presets, str) or not presets:
        raise LaunchError('--budget needs a list of presets, label_presets, in the config: inherit '
                          '_base_/segmentation_runtime.py, or its _base_/label_presets.py')
    before, known = 0, {}
    for number, preset in enumerate(presets):
        is_last = number == len(presets) - 1
        where = f'label_presets.{number}'
        _check_preset(preset, where, {'up_to', 'alternatives'})
        alternatives = preset.get('alternatives', ())
        for place, other in enumerate(alternatives):
            _check_preset(other, f'{where}.alternatives.{place}')
        for one in (preset, *alternatives):  # an alternative may be another preset, under its name
            taken = [other['name'] for other in (*presets[:number], *alternatives)] if one is preset else [NO_PRESET]
            if one['name'] in (NO_PRESET, *taken) or known.setdefault(one['name'], one['settings']) != one['settings']:
                raise LaunchError(f"{where}.name '{one['name']}' is taken: give each preset a name of its own")
        up_to = preset.get('up_to')
        if is_last != (up_to is None) or not is_last and not (isinstance(up_to, int) and up_to > before):
            raise LaunchError(f'{where}.up_to is {up_to}: numbers of tiles that ascend, and none in the last preset')
        before = up_to


def _check_preset(preset: Any, where: str, more: Set[str] = frozenset()) -> None:
    if not isinstance(preset, Mapping) or set(preset) - {'name', 'settings', *more} or not isinstance(
            preset.get('settings'), Mapping) or not isinstance(preset.get('name'), str) or not all(
            isinstance(preset.get(key, []), Sequence) for key in more - {'up_to'}):
        shape = 'name=..., up_to=..., settings=dict(...)' if more else 'name=..., settings=dict(...)'
        raise LaunchError(f'{where} is {_shortened(preset)}: give dict({shape})')


def _labelled_tiles(cfg: Config, budget: str, options: Mapping[str, Any], dev: bool) -> int:
    """The number of tiles that the sampler will choose."""
    data = copy.deepcopy(cfg)
    data.merge_from_dict({key: value for key, value in options.items() if key.startswith(_DATA_OPTIONS)})
    if dev:
        use_dev_part(data)
    loader, sampler = data.train_dataloader, data.train_dataloader.sampler
    with DefaultScope.overwrite_default_scope(data.get('default_scope') or 'mmseg'):
        tiles = DATASETS.build(dict(loader.dataset, pipeline=[]))
    if sampler.get('unit', 'tile') == 'tile':
        return budget_count(budget, len(tiles))
    return len(select_tiles(tiles.tile_names, tiles.class_pixels(), budget, sampler.get('seed') or 0,
                            sampler.get('strategy', 'class_covering'), tiles.sources, sampler.unit))


def _leaves(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of nested settings; of ``custom_keys``, whose names hold dots, the whole."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value and key != 'custom_keys':
            yield from _leaves(value, (*path, key))
        else:
            yield '.'.join((*path, key)), value


def _child(node: Any, key: str) -> Any:
    """The entry of a dict, or the element of a list whose number the key is; None without one."""
    if isinstance(node, (list, tuple)):
        return node[int(key)] if key.isdigit() and int(key) < len(node) else None
    return node.get(key) if isinstance(node, Mapping) else None


def _mergeable(settings: Mapping[str, Any], node: Any) -> dict[str, Any]:
    """A copy without ``_delete_`` where there is nothing to delete: MMEngine would leave it in the config."""
    copied = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            there, replaced = _child(node, key), bool(value.get('_delete_'))
            copied[key] = _mergeable({k: v for k, v in value.items() if k != '_delete_'}, None if replaced else there)
            if replaced and there is not None:
                copied[key]['_delete_'] = True
        else:
            copied[key] = copy.deepcopy(value)
    return copied


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
