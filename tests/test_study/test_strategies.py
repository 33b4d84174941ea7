"""The strategies of the study, and that the docs list the same."""
from pathlib import Path

from egmim_mm.study.strategies import STRATEGIES, comparison_table, recipe_table

DOCS = Path(__file__).resolve().parents[2] / 'docs'


def test_the_eight_strategies_differ_in_what_they_start_from():
    assert len(STRATEGIES) == 8
    for field in ('name', 'backbone'):
        assert len({getattr(strategy, field) for strategy in STRATEGIES}) == 8
    assert [s.name for s in STRATEGIES if s.dapt == 'SimMIM'] == ['GPPT, then DAPT with SimMIM']
    assert [s.name for s in STRATEGIES if not s.weights] == ['from scratch', 'DAPT only']


def test_both_tables_of_the_docs_are_made_from_the_code():
    for page, table in (('protocol.md', comparison_table()), ('gppt.md', recipe_table())):
        text = (DOCS / page).read_text(encoding='utf-8')
        assert f'\n\n{table}\n' in text, page
        assert len(table.splitlines()) == 10
