"""The only package that imports Ray: where jobs run, never what they do.

Nothing is imported here, so that `session` can set Ray's authentication mode before the first ``import ray``.
"""
