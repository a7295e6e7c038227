"""SQL files that each define one statistics view."""
