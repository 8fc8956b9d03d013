"""What a run leaves for people: its directory, progress, metrics, TensorBoard, pictures, provenance. No Ray."""
