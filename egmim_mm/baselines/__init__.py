"""What a person would do without pretraining: a random forest on hand-made pixel features, as a strategy like others.

The face imports none of it: ``tools/baseline.py --help`` must not wait for torch.
"""
__all__: list[str] = []
