"""What every package may import. Imports nothing of ours."""
