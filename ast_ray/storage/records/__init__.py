"""The JSON files of a run as types, and the one reader of each."""
