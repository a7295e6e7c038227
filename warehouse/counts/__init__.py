"""What is counted of the rows of a slice, as SQL files, one relation each."""
