"""Timings: one file each, ratios against a named baseline measured in one run."""
__all__: list[str] = []  # modules are imported by name: --help must not wait for torch
