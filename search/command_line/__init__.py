"""The command lines: flags declared in settings, their parser, and the process of a command."""
