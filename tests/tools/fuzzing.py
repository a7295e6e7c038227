"""Argument strings that a model or a stranger could write, the same ones in every run.

`nasty_strings` mixes a list of known troublemakers with random mutations of them.
"""

import random
from collections.abc import Iterator

from tools.plugins.nasty_arguments import NASTY_ARGUMENTS

# And some that are far too long for a quick check.
SEEDS = (*NASTY_ARGUMENTS, "x" * 1_000_000, "🌋" * 50_000)


def nasty_strings(count: int, *, seed: int = 0) -> Iterator[str]:
    """Troublemakers, then mutations of them.

    Args:
        count: how many in all.
        seed: of the mutations.
    """
    generator = random.Random(seed)
    yield from generator.sample(SEEDS, min(count, len(SEEDS)))
    short = [text for text in SEEDS if len(text) < 500]
    for _ in range(count - len(SEEDS)):
        text = list(generator.choice(short))
        for _ in range(generator.randrange(1, 8)):
            place = generator.randrange(len(text) + 1)
            match generator.randrange(4):
                case 0:
                    text[place:place] = list(generator.choice(short))
                case 1:
                    text[place:place] = [chr(generator.randrange(1, 0x3000))]
                case 2:
                    del text[place : place + generator.randrange(1, 6)]
                case _:
                    text[place:place] = list(str(generator.randrange(10**6)))
        yield "".join(text)
