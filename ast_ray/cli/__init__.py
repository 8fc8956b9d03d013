"""The command line: parses, calls, renders, and turns errors into messages and exit codes."""
