"""Measurement of `ast-ray run` on data sets as users have them, with no setting given.

Start at `catalogue` (the sets and what is odd about each), then `measuring` (how one is run and judged) and `rendering`
(docs/odd-data.md). Commands: ``python -m benchmarks.odd_datasets --help``.
"""
