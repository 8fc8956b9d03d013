"""The paper's tables as studies: run cell by cell, appended to one results file, rendered to docs/results.md.

Start at `studies` (what is compared), then `cells` (how a cell becomes settings), `running` (how one is run),
`rendering` (what the results file says). Commands: ``python -m benchmarks.reproduce --help``.
"""
