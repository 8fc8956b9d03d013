"""Search spaces for `ast-ray tune`, one module each.

A module holds ``param_space``, a dictionary from setting names (``ast-ray run --help`` lists them) to ray.tune domains,
and may hold ``settings``, values for other settings (those of the search, ``tune.*``, included). Command-line options
win over ``settings``, which win over the preset.
"""
