"""How calls are made: deadlines, processes of their own, a cache, and what is checked."""
