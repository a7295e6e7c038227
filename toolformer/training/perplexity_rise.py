"""What is said of a model that lost language while it was trained."""

# Share of the perplexity before training; what other texts than those it is measured on cost.
_WITHOUT_A_WORD = 0.05


def rises(before: float, after: float) -> bool:
    """Whether a perplexity is more than 5 % above an earlier one."""
    return after / before - 1 > _WITHOUT_A_WORD


def perplexity_rise(before: float, after: float, *, of: str) -> str | None:
    """A sentence where perplexity rose by more than 5 %: by how much, and what to do.

    Args:
        before, after: perplexity before and after training, with calls disabled.
        of: what was measured, such as `the development texts`.

    Example:
        >>> perplexity_rise(20.0, 20.9, of="the development texts") is None
        True
    """
    if not rises(before, after):
        return None
    rise = after / before - 1
    return (
        f"Perplexity of {of} without calls rose by {rise:.0%}, from {before:.2f} to {after:.2f}: "
        "the model has lost language. Lower training.learning_rate (auto tries some), or "
        "training.epochs, or train on more texts, also such without calls (training.plain_share)."
    )
