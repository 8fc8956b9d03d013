"""Readers of file formats that somebody else may have written, one module per format.

Every reader checks first that the path is a regular file (`opening.require_file`), lets a library parse it inside
`opening.parsing`, and raises the error class that the caller names. Nothing here unpickles.
"""
