"""Comparisons of several runs: the strategies, which tiles are labelled, and the quickstart, a fixed small study.

The face imports nothing: ``tools/label_budget.py --help`` must not wait for torch.
"""
__all__: list[str] = []
