"""Plans and executes runs from the command line."""
