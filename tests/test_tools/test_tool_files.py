"""Every tool is started in the same way and stays a screen long."""
import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egmim_mm.subcommands import Subcommands

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted((ROOT / 'tools').rglob('*.py'))


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: tool.name)
def test_tools_are_executable_and_short(tool):
    lines = tool.read_text(encoding='utf-8').splitlines()
    assert lines[0] == '#!/usr/bin/env python' and lines[1].startswith('"""')
    assert lines[-2:] == ["if __name__ == '__main__':", '    main()']
    assert len(lines) <= 80
    assert os.access(tool, os.X_OK)


@pytest.mark.parametrize('tool', ['analyze', 'baseline', 'benchmark', 'label_budget', 'quickstart'])
def test_help_does_not_wait_for_torch(tool):
    source = f'import runpy, sys; sys.argv = [{tool!r}, "--help"]\n' \
             f'try: runpy.run_path({str(ROOT / "tools" / f"{tool}.py")!r}, run_name="__main__")\n' \
             'except SystemExit as end: print(end.code, "torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', source], env=dict(os.environ, PYTHONPATH=str(ROOT)),
                          capture_output=True, text=True)
    assert done.stdout.startswith('usage: ') and done.stdout.endswith('\n0 False\n'), done.stderr


def test_subcommands_keep_their_order_and_refuse_a_second_of_one_name():
    commands, ran = Subcommands(), []
    for name in ('second', 'first'):
        commands.register(name, lambda parser: parser.add_argument('--size', type=int, default=3),
                          help=f'the {name}')(lambda args: ran.append((args.command, args.size)))
    parser = argparse.ArgumentParser()
    commands.add_to(parser)
    for line in (['first'], ['second', '--size', '7']):
        args = parser.parse_args(line)
        args.run(args)
    assert ran == [('first', 3), ('second', 7)]
    assert parser.format_help().index('the second') < parser.format_help().index('the first')
    with pytest.raises(ValueError, match="there are two subcommands 'first'"):
        commands.register('first', print)


def test_reports_go_to_the_folder_that_is_named_and_say_where_they_are(capsys):
    commands, folders = Subcommands(), []
    for name, folder in (('seen', 'out/<config name>'), ('fixed', 'out/fixed')):
        commands.register_report(name, lambda parser: parser.add_argument('config'), 'a.json and a.png', folder)(
            lambda args: folders.append(args.out))
    parser = argparse.ArgumentParser()
    commands.add_to(parser)
    for line in (['seen', 'configs/some.py'], ['fixed', 'some.py'], ['seen', 'some.py', '--out', 'mine']):
        args = parser.parse_args(line)
        args.run(args)
    assert folders == ['out/some', 'out/fixed', 'mine']
    assert capsys.readouterr().out.splitlines() == [f'wrote {folder}/a.json and a.png' for folder in folders]
