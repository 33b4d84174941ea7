"""Which folds count, how their scores are pooled, and when another preset is taken."""
import numpy as np
import pytest
from mmengine.config import Config

from egmim_mm.checks import LaunchError
from egmim_mm.engine import preset_selection
from egmim_mm.engine.launch import load_config
from egmim_mm.engine.preset_selection import choose_row, pooled_score, select_preset, tell_selection, usable_folds


def row(name, miou, iterations=None):
    return dict(name=name, iterations=iterations, mIoU=miou)


def test_folds_that_teach_two_classes_and_hold_one_of_them_count():
    folds, known = usable_folds(np.array([[9, 9, 0], [9, 9, 5], [9, 0, 0], [0, 0, 0]]))
    assert folds == [[0], [1], [2]]  # the last tile has nothing to judge
    assert known.tolist() == [[True, True, True], [True, True, False], [True, True, True]]


@pytest.mark.parametrize('counts', [
    [[9, 9, 0]],  # one tile
    [[9, 0, 0], [0, 9, 0]],  # what is left out is never known
    [[9, 9, 0], [9, 0, 9]],  # one class alone can be judged
    [[9, 9, 0], [0, 0, 0]]])
def test_labels_that_no_fold_can_judge(counts):
    folds, known = usable_folds(np.array(counts))
    assert folds == [] and known.shape == (0, 3)


def test_the_score_is_that_of_all_pixels_whose_class_the_fold_could_know():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 3, (2, 500)), rng.integers(0, 4, (2, 500))  # of two folds, of four classes
    known = np.array([[1, 1, 1, 1], [1, 1, 0, 1]], bool)
    confusions = np.array([[[((t == i) & (g == j)).sum() for j in range(4)] for i in range(4)]
                           for t, g in zip(truth, guess)])
    kept = np.concatenate([truth[0], truth[1][truth[1] != 2]]), np.concatenate([guess[0], guess[1][truth[1] != 2]])
    ious = [((kept[0] == k) & (kept[1] == k)).sum() / ((kept[0] == k) | (kept[1] == k)).sum() for k in range(3)]
    score, judged = pooled_score(confusions, known, 'abcd')
    assert score == pytest.approx(100 * np.mean(ious)) and judged == ['a', 'b', 'c']  # d is nowhere in the truth


@pytest.mark.parametrize(('rows', 'taken', 'why'), [
    ([row('fixed', 40.0), row('b', 40.5)], ('fixed', None), 'no other is better than the preset of the budget by more'),
    ([row('fixed', 40.0), row('b', 40.6), row('c', 43.0)], ('c', None), 'better than the preset of the budget by 3.0'),
    ([row('fixed', 40.0), row('b', 40.0)], ('fixed', None), 'the preset of the budget is the best'),
    ([row('fixed', 40.0), row('b', 47.0, 25), row('b', 42.0, 100)], ('b', 25), 'by 7.0'),
    ([row('fixed', 47.3, 300), row('fixed', 47.0, 600), row('b', 30.0)], ('fixed', 600), 'no other')])
def test_another_preset_has_to_be_clearly_better(rows, taken, why):
    choice, reason = choose_row(rows, 'fixed', 10)
    assert (choice['name'], choice['iterations']) == taken and why in reason


@pytest.mark.parametrize(('tiles', 'taken'), [(2, 'fixed'), (5, 'b')])
def test_the_fewer_tiles_the_clearer_it_has_to_be(tiles, taken):
    choice, reason = choose_row([row('fixed', 40.0), row('b', 42.0)], 'fixed', tiles)
    assert choice['name'] == taken and (taken == 'b' or 'by more than 2.5 (5 divided by 2 tiles)' in reason)


def test_a_selection_goes_with_a_budget_and_without_a_preset(request):
    config = str(request.config.rootpath / 'configs/dubai_cpu/upernet.py')
    for options in ({}, dict(budget='2', preset='read-out')):
        with pytest.raises(LaunchError, match='--select cv chooses the preset of a --budget: give a --budget, and no'):
            load_config(config, select='cv', **options)


def test_a_resumed_run_needs_its_selection(tmp_path):
    with pytest.raises(LaunchError, match='selection.json is not there, .*: give --preset in place of --select'):
        select_preset(lambda name: Config(dict(work_dir=str(tmp_path))), None, resume=True)


def test_the_log_explains_what_was_compared(monkeypatch):
    said = []
    monkeypatch.setattr(preset_selection, 'print_log', lambda message, **options: said.append(message))
    tell_selection(Config(dict(model=dict())))
    tell_selection(Config(dict(label_preset=dict(selection=dict(
        folds=[['t1'], ['t2']], classes=['road', 'water'], not_judged=['car'],
        candidates=[row('a', 41.26), row('b', 44.0, 50)], taken=dict(name='b', iterations=50), why='it is better')))))
    assert said == ['Presets compared on labelled tiles that are left out in turn (t1; t2); no other image is looked '
                    'at\n'
                    "  'a': mIoU 41.3\n  'b', 50 iterations: mIoU 44.0\n"
                    '  over the classes that could be known: road, water\n'
                    '  not judged, because no labelled tile or only those of one fold hold them: car\n'
                    "--select cv takes 'b', 50 iterations: it is better"]
