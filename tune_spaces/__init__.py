"""Search spaces for Ray Tune, one module each."""
