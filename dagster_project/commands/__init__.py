"""What the commands of `toolformer` do; `cli.py` parses the command line and imports them late."""
