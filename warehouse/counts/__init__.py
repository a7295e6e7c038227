"""SQL files that each count the rows of one table."""
