"""What the JSON files of a run say, as types, and the one reader of each."""
