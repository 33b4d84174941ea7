"""A random forest as plain arrays: fitted by scikit-learn, kept in a file without code, evaluated in NumPy.

scikit-learn keeps forests as pickles, which run code when they are loaded, and its trees cannot be rebuilt from arrays
without private interfaces that change between releases and do not check indices. Here a forest is five arrays.
"""
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier

__all__ = ['Forest']

CHUNK = 8192  # pixels at a time: their features and one tree stay in the caches
STEPS = 6  # down a tree, after which the pixels that have reached a leaf are put aside


@dataclass(frozen=True)
class Forest:
    """T trees of M nodes in all. The children of a node are neighbours; a leaf is its own child and lets nothing pass.

    Args:
        roots: (T, ) int32, root of each tree.
        depths: (T, ) int32, steps from the root to the deepest leaf.
        feature: (M, ) int32, what the node looks at.
        threshold: (M, ) float32: pixels above it go right.
        left: (M, ) int32, left child; the right one is the next node.
        values: (M, K) float32, class probabilities of the leaves.
    """

    roots: np.ndarray
    depths: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, model: RandomForestClassifier, num_classes: int) -> 'Forest':
        """The arrays of a fitted forest whose labels are class numbers below ``num_classes``.

        A class it has not seen gets the probability 0.
        """
        trees = [_neighbouring_children(estimator.tree_) for estimator in model.estimators_]
        sizes = [len(tree['left']) for tree in trees]
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        values = np.zeros((sum(sizes), num_classes), np.float32)
        values[:, model.classes_.astype(int)] = np.concatenate([tree['values'] for tree in trees])
        return cls(roots.astype(np.int32), np.array([tree['depth'] for tree in trees], np.int32),
                   np.concatenate([tree['feature'] for tree in trees]),
                   np.concatenate([tree['threshold'] for tree in trees]),
                   np.concatenate([tree['left'] + root for tree, root in zip(trees, roots)]).astype(np.int32), values)

    @property
    def num_features(self) -> int:
        """At least so many are needed."""
        return int(self.feature.max()) + 1

    def check(self) -> None:
        """Raise a ValueError unless every step leads to a node of the forest and every tree ends."""
        vectors = (self.roots, self.depths, self.feature, self.threshold, self.left)
        sizes = {len(self.left), len(self.feature), len(self.threshold), len(self.values)}
        if any(array.ndim != 1 for array in vectors) or self.values.ndim != 2 or len(sizes) > 1 or \
                len(self.roots) != len(self.depths) or not len(self.roots):
            raise ValueError('not a forest: arrays of wrong shapes')
        nodes = np.arange(len(self.left))
        inner = self.left != nodes
        wrong = dict(
            children=(self.left[inner] <= nodes[inner]) | (self.left[inner] + 1 >= len(nodes)),
            leaves=self.threshold[~inner] != np.inf, roots=(self.roots < 0) | (self.roots >= len(nodes)),
            features=self.feature < 0, depths=(self.depths < 0) | (self.depths > len(nodes)),
            probabilities=~np.isfinite(self.values))
        for name, bad in wrong.items():
            if bad.any():
                raise ValueError(f'not a forest: {name} that cannot be')

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Mean class probabilities of the trees, as scikit-learn's ``predict_proba``.

        Args:
            features: (n, F) float32.

        Returns:
            (n, K) float32.
        """
        features = np.ascontiguousarray(features, np.float32)
        result = np.empty((len(features), self.values.shape[1]), np.float32)
        for start in range(0, len(features), CHUNK):
            chunk = features[start:start + CHUNK]
            total = np.zeros((len(chunk), self.values.shape[1]), np.float64)
            for root, depth in zip(self.roots, self.depths):
                total += self.values.take(self._leaves(chunk, root, depth), axis=0)
            result[start:start + CHUNK] = total / len(self.roots)
        return result

    def _leaves(self, features: np.ndarray, root: int, depth: int) -> np.ndarray:
        """(n, F) -> (n, ): where each pixel ends in one tree."""
        flat, node = features.ravel(), np.full(len(features), root, np.intp)
        leaves, pixels, first = node.copy(), np.arange(len(features)), np.arange(0, flat.size, features.shape[1])
        for step in range(depth):
            node = self.left.take(node) + (flat.take(first + self.feature.take(node)) > self.threshold.take(node))
            if step % STEPS == STEPS - 1 or step == depth - 1:  # most pixels end long before the deepest leaf
                leaves[pixels] = node
                on_the_way = self.left.take(node) != node
                node, pixels, first = node[on_the_way], pixels[on_the_way], first[on_the_way]
        return leaves


def _neighbouring_children(tree) -> dict:
    """The arrays of one tree of scikit-learn, level by level, so that the right child follows the left one."""
    left, right = tree.children_left, tree.children_right
    levels, count, renumbered = [np.array([0])], 1, []
    while True:
        inner = left[levels[-1]] >= 0
        own = np.arange(count - len(levels[-1]), count)
        own[inner] = count + 2 * np.arange(inner.sum())
        renumbered.append(own)
        if not inner.any():
            break
        parents = levels[-1][inner]
        levels.append(np.stack([left[parents], right[parents]], 1).ravel())
        count += len(levels[-1])
    order = np.concatenate(levels)
    leaf = left[order] < 0
    threshold = tree.threshold[order].astype(np.float32)
    # features are float32: those up to the double are those up to the next float32 below it
    above = threshold > tree.threshold[order]
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    threshold[leaf] = np.inf
    values = tree.value[order, 0]
    values = np.where(leaf[:, None], values / values.sum(1, keepdims=True), 0)
    return dict(left=np.concatenate(renumbered), depth=len(levels) - 1, threshold=threshold, values=values,
                feature=np.where(leaf, 0, tree.feature[order]).astype(np.int32))
