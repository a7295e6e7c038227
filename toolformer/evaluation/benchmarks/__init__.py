"""The paper's benchmarks (§4.2): their questions, prompts, blocked tools and scoring rules."""
