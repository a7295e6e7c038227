"""What every package may import: digests, and files that appear whole. Imports nothing of ours."""
