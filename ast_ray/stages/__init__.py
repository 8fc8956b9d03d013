"""One unit of work = one plain function: train one expert, distil one set, evaluate one network. No Ray.

`pipeline` strings them together over an `executor`, which decides where they run.
"""
