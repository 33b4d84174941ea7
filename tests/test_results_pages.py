"""A page of results names command, commit and device, and its commands still parse."""
import re
import runpy
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(ROOT.glob('docs/results/*.md'))
PARSED = ('analyze', 'benchmark', 'label_budget')  # tools whose parse_args takes the arguments
SCRIPT = r'python ((?:tools|docs)/[\w/]+\.py)'
# in a line of text, where it may be wrapped, or alone
COMMAND = re.compile(rf'`{SCRIPT}([^`]*)`|(?<!`){SCRIPT}([^\n#`]*)')


def commands(page):
    text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
    return [(match[1] or match[3], shlex.split(match[2] or match[4] or '')) for match in COMMAND.finditer(text)]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_a_page_names_command_commit_and_device(page):
    text = page.read_text(encoding='utf-8')
    assert commands(page) or 'make quickstart' in text
    assert re.search(r'[Cc]ommits?\b[^|]*?\b[0-9a-f]{7}\b', text), 'no commit'
    assert re.search(r'\b(CPU|GPU|H100|H200|A100)\b', text), 'no device'
    assert re.search(r'\btorch \d+\.\d+', text), 'no version'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_its_commands_still_parse(page):
    for script, arguments in commands(page):
        assert (ROOT / script).is_file(), script
        if Path(script).stem in PARSED and script.startswith('tools/') and arguments:
            runpy.run_path(str(ROOT / script))['parse_args'](arguments)
