"""What is counted of the rows of a partition, as SQL files, one relation each."""
