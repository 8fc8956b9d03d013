"""Evaluation jobs: fresh networks on distilled and real sets, their rows, summaries and verdicts."""
