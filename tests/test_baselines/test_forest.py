"""The forest of arrays gives what scikit-learn's gives."""
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from egmim_mm.baselines.forest import CHUNK, Forest


@pytest.fixture(scope='module')
def fitted():
    rng = np.random.default_rng(0)
    features = rng.integers(0, 9, (900, 6)).astype(np.float32) / 7  # few values: pixels lie on thresholds
    labels = np.array([0, 2, 3])[(features[:, :3] + rng.normal(0, 0.3, (900, 3))).argmax(1)]
    model = RandomForestClassifier(12, random_state=0, min_samples_leaf=2, class_weight='balanced')
    return model.fit(features, labels), features


def test_probabilities_are_those_of_scikit_learn(fitted):
    model, features = fitted
    forest = Forest.of(model, 5)
    forest.check()
    rng = np.random.default_rng(1)
    for seen in (features, rng.normal(size=(CHUNK + 3, 6)).astype(np.float32)):
        found, expected = forest.probabilities(seen), model.predict_proba(seen)
        assert np.abs(found[:, [0, 2, 3]] - expected).max() < 1e-6
        assert (found[:, [1, 4]] == 0).all()  # classes that the forest has never seen
    assert forest.num_features == 6


def test_pixels_on_a_threshold_go_left(fitted):
    """A threshold is a double; the float32 nearest to it may lie above it."""
    model, _ = fitted
    forest = Forest.of(model, 5)
    thresholds = np.concatenate([tree.tree_.threshold[tree.tree_.children_left >= 0] for tree in model.estimators_])
    seen = np.unique(thresholds).astype(np.float32)
    seen = np.concatenate([seen, np.nextafter(seen, np.float32(np.inf)), np.nextafter(seen, np.float32(-np.inf))])
    seen = np.repeat(seen[:, None], 6, 1)
    assert np.abs(forest.probabilities(seen)[:, [0, 2, 3]] - model.predict_proba(seen)).max() < 1e-6


def test_a_tree_that_is_one_leaf():
    model = RandomForestClassifier(2, random_state=0, min_samples_leaf=6).fit(np.eye(6, dtype=np.float32),
                                                                              [0, 0, 0, 1, 1, 1])
    forest = Forest.of(model, 2)
    assert forest.depths.tolist() == [0, 0]
    assert np.allclose(forest.probabilities(np.zeros((1, 6), np.float32)), model.predict_proba(np.zeros((1, 6))))


@pytest.mark.parametrize(('field', 'change', 'says'), [
    ('left', lambda a: np.where(np.arange(len(a)) == 0, len(a) - 1, a), 'children'),
    ('left', lambda a: a[:-1], 'shapes'),
    ('roots', lambda a: a + 10**6, 'roots'),
    ('feature', lambda a: a - 1, 'features'),
    ('threshold', lambda a: np.zeros_like(a), 'leaves'),
    ('values', lambda a: a * np.nan, 'probabilities'),
    ('depths', lambda a: a + 10**6, 'depths'),
])
def test_arrays_that_are_no_forest_are_refused(fitted, field, change, says):
    forest = Forest.of(fitted[0], 5)
    with pytest.raises(ValueError, match=f'not a forest: .*{says}'):
        replace(forest, **{field: change(getattr(forest, field))}).check()
