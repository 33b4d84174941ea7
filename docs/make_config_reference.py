#!/usr/bin/env python
"""Write docs/config_reference.md from the signatures and docstrings of the registered classes:

    python docs/make_config_reference.py

A test compares the page with what this script would write, so it cannot fall behind the code.
"""
import inspect
import re
from importlib import import_module
from pathlib import Path

from egmim_mm.environment import quiet_imports

quiet_imports()

from egmim_mm import registry  # noqa: E402

PAGE = Path(__file__).with_name('config_reference.md')
SECTIONS = {
    'MODELS': ('Models', '`model`, its `backbone`, heads, losses, edge prior, masks and `data_preprocessor`'),
    'DATASETS': ('Data sets', '`train_dataloader.dataset`, `val_dataloader.dataset`, `test_dataloader.dataset`'),
    'DATA_SAMPLERS': ('Samplers', '`train_dataloader.sampler`'),
    'TRANSFORMS': ('Transforms', 'elements of a `pipeline`'),
    'METRICS': ('Metrics', 'elements of `val_evaluator` and `test_evaluator`'),
    'LOOPS': ('Training loop', '`train_cfg`'),
    'HOOKS': ('Hooks', '`default_hooks` and `custom_hooks`'),
    'WEIGHT_INITIALIZERS': ('Weights to start from', '`model.backbone.init_cfg`'),
    'OPTIM_WRAPPER_CONSTRUCTORS': ('Learning rates by layer', '`optim_wrapper.constructor`'),
}
HEAD = """# Config reference

<!-- Written by docs/make_config_reference.py; change the docstrings, then run it again. -->

Every class of this package that a config can name as `type='egmim_mm.<class>'`, with every key it takes. A key is set
in a config file, or for one run with `--cfg-options`, by its path: `model.mask_generator.ratio=0.5`. Keys of MMEngine,
MMPretrain and MMSegmentation keep the meaning they have there; those you will change most are in the
[user guide](user_guide.md#toolstrainpy). What EGMIM's parts compute is in [egmim.md](egmim.md).

"""
# Handed over by the engine when it builds the object; no config sets them.
GIVEN = {'DATA_SAMPLERS': {'dataset'}, 'LOOPS': {'runner', 'dataloader'},
         'OPTIM_WRAPPER_CONSTRUCTORS': {'optim_wrapper_cfg'}}
ENTRY = re.compile(r'^(\*{0,2}\w+(?:(?: \([^)]*\))?, \*{0,2}\w+)*)(?: \(((?:[^()]|\([^()]*\))*)\))?: (.*)$', re.DOTALL)


def values_of(match: re.Match) -> str:
    """A constant of the package that a docstring names, spelled out."""
    constant = getattr(import_module(f'egmim_mm.{match[1]}'), match[2])
    return ', '.join(f'``{value}``' for value in constant)


def as_markdown(text: str) -> str:
    """reST of a docstring as one line for a table cell."""
    text = re.sub(r'``egmim_mm\.([a-z_.]+)\.([A-Z_]+)``', values_of, text)
    text = re.sub(r'\n *- ', '<br>', text)
    text = re.sub(r':\w+:`~?\.?(?:[\w.]+\.)?(\w+)`', r'`\1`', text)
    return ' '.join(text.replace('``', '`').replace('|', r'\|').split())


def documented(kind: type) -> dict[str, tuple[str, str]]:
    """Key -> (type or '', meaning) of the ``Args:`` of a class and of the classes of this package it extends."""
    entries: dict[str, tuple[str, str]] = {}
    for parent in reversed([c for c in kind.__mro__ if c.__module__.startswith('egmim_mm')]):
        block = re.search(r'^Args:\n((?:[ ]{4,}.*\n?|\n)+)', inspect.cleandoc(parent.__doc__ or ''), re.MULTILINE)
        for text in re.split(r'\n(?=    \S)', '\n' + block[1].rstrip())[1:] if block else ():
            match = ENTRY.match(text.strip())
            for name in re.findall(r'\*{0,2}(\w+)(?: \([^)]*\))?(?:, |$)', match[1]) if match else ():
                entries[name] = (match[2] or '', match[3])
    return entries


def written_type(parameter: inspect.Parameter, told: str) -> str:
    if parameter.annotation is parameter.empty:
        return told
    return re.sub(r'\b(?:\w+\.)+(\w+)', r'\1', inspect.formatannotation(parameter.annotation))


def inherited(kind: type) -> str:
    """The class of another package that says which keys there are, or '' when it is ours or there are none."""
    owner = next(parent for parent in kind.__mro__ if '__init__' in vars(parent))
    named = [p for p in inspect.signature(kind).parameters.values()
             if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    package = owner.__module__.partition('.')[0]
    return '' if package == 'egmim_mm' or not named else f"{package}'s `{owner.__name__}`"


def rows(kind: type, given: set[str]) -> list[str]:
    """Lines of the table of one class; raises ValueError for a key without a description."""
    if inherited(kind):
        return []
    entries, lines, missing = documented(kind), [], []
    for parameter in list(inspect.signature(kind).parameters.values()):
        if parameter.name in given or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        told, meaning = entries.get(parameter.name, ('', ''))
        if parameter.kind is parameter.VAR_KEYWORD:
            if meaning:
                lines.append(f'| further keys | | | {as_markdown(meaning)} |')
            continue
        if parameter.name == 'init_cfg':
            meaning = meaning or 'Where the initial weights come from; see `BridgedCheckpoint`.'
        if not meaning:
            missing.append(parameter.name)
        default = 'required' if parameter.default is parameter.empty else f'`{parameter.default!r}`'
        kind_of_value = as_markdown(written_type(parameter, told))
        lines.append(f'| `{parameter.name}` | {kind_of_value} | {as_markdown(default)} | {as_markdown(meaning)} |')
    if missing:
        raise ValueError(f'{kind.__module__}.{kind.__name__}: no description of {", ".join(missing)} in its docstring')
    return lines


def reference() -> str:
    """The page."""
    parts = [HEAD]
    for name, (title, place) in SECTIONS.items():
        group = getattr(registry, name)
        group.import_from_location()
        parts.append(f'## {title}\n\nWhere: {place}.\n\n')
        own = [kind for kind in group.module_dict.values() if kind.__module__.startswith('egmim_mm.')]
        for kind in sorted(own, key=lambda c: c.__name__):
            summary = as_markdown(inspect.cleandoc(kind.__doc__).split('\n\n')[0])
            parts.append(f'### egmim_mm.{kind.__name__}\n\n{summary} (`{kind.__module__.replace(".", "/")}.py`)\n\n')
            lines = rows(kind, GIVEN.get(name, set()))
            foreign = inherited(kind)
            if foreign:
                parts.append(f'Its keys are those of {foreign}.\n\n')
            if lines:
                parts.append('\n'.join(['| key | type | default | meaning |', '|---|---|---|---|', *lines]) + '\n\n')
    return ''.join(parts).rstrip() + '\n'


if __name__ == '__main__':
    PAGE.write_text(reference(), encoding='utf-8')
    print(f'wrote {PAGE}')
