"""The statistics of the warehouse as SQL files, one view each."""
