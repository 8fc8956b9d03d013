"""Stages behind single commands: inspect a source, compute features, export."""
