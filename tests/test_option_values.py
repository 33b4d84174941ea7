"""What --cfg-options makes of the words after it, and how sources are named."""
import argparse
import shlex

import pytest

from egmim_mm.option_values import OptionAction, named_sources


def parse(words):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    return parser.parse_args(['--cfg-options', *shlex.split(words)]).cfg_options


def test_values_are_read_as_mmengine_does():
    assert parse('a.b=1 c=[1,2] d=(1,[x,y]) e= f=None g=True h=1e-3 i=a=b') == {
        'a.b': 1, 'c': [1, 2], 'd': (1, ['x', 'y']), 'e': '', 'f': None, 'g': True, 'h': 1e-3, 'i': 'a=b'}


@pytest.mark.parametrize('words, says', [
    ('model.x= 5', "'5' after 'model.x=' is not KEY=VALUE. Write no spaces around = and inside of lists"),
    ('model.x = 5', "'model.x' is not KEY=VALUE"),
    ('model.x =5', "'model.x' is not KEY=VALUE"),
    ('=5', "'=5' is not KEY=VALUE"),
    ('a=[1, 2]', "'a=[1,' has brackets that do not match. Write no spaces inside of lists: KEY=[1,2]"),
    ('a=(1,2', "'a=(1,2' has brackets that do not match"),
    ('"a=[1, 2]"', "'a=[1, 2]' holds a space. Write lists without spaces"),
    ('"work_dir=my runs"', "'work_dir=my runs' holds a space"),
    ('"a= 5"', "'a= 5' holds a space"),
])
def test_spaces_are_refused_and_not_taken_out(words, says, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(words)
    message = capsys.readouterr().err
    assert ended.value.code == 2 and message.startswith('Error: --cfg-options: ') and message.count('\n') == 1
    assert says in message


def test_named_sources():
    found = named_sources(['scratch', 'dapt=work_dirs/a', 'work_dirs/egmim_dapt/', 'runs/lr=1e-4/last.pth'])
    assert found == {'scratch': 'scratch', 'dapt': 'work_dirs/a', 'egmim_dapt': 'work_dirs/egmim_dapt/',
                     'last.pth': 'runs/lr=1e-4/last.pth'}
    with pytest.raises(ValueError, match="two sources are called 'last.pth'"):
        named_sources(['a/last.pth', 'b/last.pth'])
