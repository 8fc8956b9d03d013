"""Telemetry for people: progress, metrics, TensorBoard, pictures, failures, provenance. No Ray."""
