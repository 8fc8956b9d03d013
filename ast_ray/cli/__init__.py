"""The command line: parses, calls, renders, and turns errors into messages and exit codes.

Every start imports all commands, so their modules import what is quick. Torch, scikit-learn, Ray and the stages take
seconds: a command imports them in the function that works with them, after it has refused what it can refuse.
"""
