"""The search on Ray Tune: spaces, shared buffers, the trainable, searchers and schedulers.

Nothing is imported here, so that `ray_backend.session` can set Ray's authentication mode before the first
``import ray``.
"""
