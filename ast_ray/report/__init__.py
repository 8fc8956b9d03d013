"""A run directory as one self-contained page. Reads files and draws; imports neither Ray nor torch.

`reading` turns directories into records, `frames`, `figures` and `tables` turn records into what the page shows,
`page` renders it with the templates beside it.
"""
