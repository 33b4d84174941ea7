"""Options as they are typed: ``--cfg-options``, KEY=VALUE without spaces, and sources, [NAME=]PATH."""
import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

__all__ = ['OptionAction', 'named_sources']


class OptionAction(DictAction):
    """MMEngine's action for KEY=VALUE, which would take the spaces out of a value; here they end the command."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Sequence[str],
                 option_string: str | None = None) -> None:
        before = ''
        for text in values:
            problem = _problem(text)
            if problem:
                parser.exit(2, f'Error: {option_string}: {text!r}{before} {problem}\n')
            before = f' after {text!r}'
        super().__call__(parser, namespace, values, option_string)


def _problem(text: str) -> str | None:
    key, sign, value = text.partition('=')
    if not sign or not key:
        return 'is not KEY=VALUE. Write no spaces around = and inside of lists: KEY=[1,2]'
    if re.search(r'\s', text):
        return ('holds a space. Write lists without spaces, KEY=[1,2]; a text that needs one (a folder) belongs in a '
                'config file')
    if any(value.count(left) != value.count(right) for left, right in ('[]', '()')):
        return 'has brackets that do not match. Write no spaces inside of lists: KEY=[1,2]'
    return None


def named_sources(values: Sequence[str]) -> dict[str, str]:
    """``name=path`` or ``path`` arguments -> name -> path; a bare path is named after its last part.

    Raises:
        ValueError: If two sources have the same name.
    """
    sources: dict[str, str] = {}
    for value in values:
        name, equals, path = value.partition('=')
        if not equals or '/' in name:  # an '=' further on belongs to the path
            name, path = Path(value).name, value
        if name in sources:
            raise ValueError(f"two sources are called '{name}' ({sources[name]} and {path}): name "
                             'them, as in NAME=PATH')
        sources[name] = path
    return sources
