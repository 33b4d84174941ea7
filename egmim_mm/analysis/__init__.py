"""Analyses: one file each, numbers first, then a plot. None of them changes a model.

The face imports none of them: ``tools/analyze.py --help`` must not wait for torch.
"""
__all__: list[str] = []
