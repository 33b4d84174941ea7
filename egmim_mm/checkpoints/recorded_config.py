"""The settings that a run was recorded with, as MMEngine keeps them in its checkpoints: read, never executed."""
import ast
import logging
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

__all__ = ['parse_settings', 'take_preset_model']


def parse_settings(text: str) -> dict[str, Any]:
    """Top-level settings of a config in MMEngine's text form (``pretty_text``), without executing it.

    Raises:
        ValueError: The text holds anything but literals and ``dict(...)``.
    """
    try:
        return {node.targets[0].id: _literal(node.value) for node in ast.parse(text).body}
    except (SyntaxError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f'not the text of a config: {error}') from error


def take_preset_model(cfg: Config, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Give a config the model of the run of a checkpoint, if the preset of its ``--budget`` has changed that.

    Such a run is tested and mapped with the config that it was started with. A config that has a ``label_preset``
    is that of a run itself, and stays as it is.

    Args:
        cfg: Changed in place; a warning says so.
        checkpoint: As read.
        path: Of the checkpoint.
    """
    try:
        recorded = parse_settings(checkpoint['meta']['cfg'])
    except (KeyError, TypeError, ValueError):
        return  # weights of others: nothing is known of their run
    preset = recorded.get('label_preset')
    if not preset or not preset['settings'].get('model') or 'label_preset' in cfg:
        return
    cfg.model = recorded['model']
    print_log(f"{path} is of a run with --budget {preset['budget']}, whose preset '{preset['name']}' changed the "
              f'model: it is built as in that run, not as in {Path(cfg.filename or "the config").name}',
              logger='current', level=logging.WARNING)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        # dict({...}) where a key is no name
        merged = {key: value for argument in node.args for key, value in _literal(argument).items()}
        return merged | {item.arg: _literal(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return (tuple if isinstance(node, ast.Tuple) else list)(map(_literal, node.elts))
    if ast.unparse(node) in ('inf', '-inf', 'nan'):
        return float(ast.unparse(node))
    return ast.literal_eval(node)
