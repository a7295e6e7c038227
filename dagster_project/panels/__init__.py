"""The commands and their flags, a module for each panel of the help."""
