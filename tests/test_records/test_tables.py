"""One printer for all tables."""
from egmim_mm.records.tables import make_table, print_table, table_text


def test_labels_stand_left_and_numbers_right():
    lines = table_text(make_table(('class', ), ('IoU %', ), [('a', 5), ('road', '12.25')], style='plain')).splitlines()
    assert lines == [' class  IoU %', ' a          5', ' road   12.25']


def test_markdown_with_a_title_footer_and_a_line_between():
    lines = table_text(make_table(('name', ), ('n', ), [('a', 1), None, ('b', 2)], style='markdown')).splitlines()
    assert lines[:2] == ['| name | n |', '|------|---|'] and lines[2] == '| a    | 1 |'
    shown = table_text(make_table(('w', ), ('n', ), [('x', 1)], title='sum', style='simple', footer=('all', 1)))
    assert 'sum' in shown and shown.splitlines()[-1].split() == ['all', '1']


def test_names_in_brackets_are_printed_as_they_are(capsys):
    print_table(('run', ), ('mIoU', ), [('maps[bold]', '1.0')], title='[red] runs')
    shown = capsys.readouterr().out
    assert 'maps[bold]' in shown and '[red] runs' in shown
    assert 'maps[bold]' in table_text(make_table(('run', ), (), [('maps[bold]', )]))
