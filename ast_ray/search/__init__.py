"""A search over settings, without Ray: its directory, trials, records, results and the final stage."""
