"""Examples that run as they stand: a method of one's own, and trajectory matching in one file."""
