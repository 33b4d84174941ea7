"""The strategies of the study, and that the docs list the same."""
import re
from pathlib import Path

from egmim_mm.study.strategies import STRATEGIES, comparison_table

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def test_the_eight_strategies_differ_in_what_they_start_from():
    assert len(STRATEGIES) == 8
    assert len({strategy.name for strategy in STRATEGIES}) == len({strategy[1:] for strategy in STRATEGIES}) == 8
    assert [s.name for s in STRATEGIES if s.dapt == 'SimMIM'] == ['GPPT, then DAPT with SimMIM']
    assert [s.name for s in STRATEGIES if not s.imagenet and not s.gppt] == ['from scratch', 'DAPT only']


def test_the_table_of_the_protocol_is_made_from_the_code():
    table = comparison_table()
    assert len(table.splitlines()) == 10
    assert f'\n\n{table}\n\n' in (DOCS / 'protocol.md').read_text(encoding='utf-8')


def test_the_page_on_weights_names_the_same_strategies():
    text = (DOCS / 'gppt.md').read_text(encoding='utf-8').partition('## The strategies of the study')[2]
    names = [name for name in re.findall(r'^\| ([^|]+?) \|', text, re.MULTILINE) if name != 'start']
    assert names and set(names) <= {strategy.name for strategy in STRATEGIES}
