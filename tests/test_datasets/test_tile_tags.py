"""Files that say which classes images show."""
import pytest

from egmim_mm.datasets.tile_tags import read_tags

CLASSES = ('road', 'water', 'roof')


def write(path, text):
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize(('name', 'text'), [
    ('a.json', '{"x/1": ["roof", "road"], "2": ["water"]}'),
    ('a.csv', 'x/1,roof,road\n2,water,\n'),
    ('a.csv', '\ufefftile,classes\nx/1, road, roof\n\n2,water\n'),
])
def test_json_and_csv_say_the_same(tmp_path, name, text):
    assert read_tags(write(tmp_path / name, text), CLASSES) == {'x/1': (0, 2), '2': (1, )}


@pytest.mark.parametrize(('name', 'text', 'says'), [
    ('a.json', '{"1": ["wood"]}', "a.json: tile '1' has the class 'wood'; the classes are road, water, roof"),
    ('a.csv', '1,road\n2\n', "a.csv: tile '2' has no class; the classes are"),
    ('a.csv', '1,road\n1,roof\n', "a.csv: cannot be read .'1' stands in it twice"),
    ('a.json', '{"1": ["road"], "1": ["roof"]}', "'1' stands in it twice"),
    ('a.json', '{"1": "road"}', 'no object of lists'),
    ('a.json', '["1"]', 'no object of lists'),
    ('a.json', '{"1": ', 'a.json: cannot be read .* give a JSON object'),
])
def test_bad_files(tmp_path, name, text, says):
    with pytest.raises(ValueError, match=says):
        read_tags(write(tmp_path / name, text), CLASSES)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match='none.json: cannot be read .*No such file'):
        read_tags(tmp_path / 'none.json', CLASSES)
