"""Timings: one file each, ratios against a named baseline measured in one run."""
