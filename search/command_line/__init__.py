"""The command lines: flags declared in settings, their parser, and the process of a command.

Imports nothing heavy, so that `--help` and a wrong flag answer at once.
"""
