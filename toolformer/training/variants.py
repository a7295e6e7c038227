"""The controls that tell whether a gain comes from the calls: the same texts with other calls.

    calls      C*: the kept calls with their own results              (the paper's Toolformer)
    plain      C: no calls                                            (the paper's "+ CC")
    shuffled   the kept calls with results exchanged within a tool    is it the result?

A control has the texts, the part of each text, the order and the steps of `calls`; and all have the
same contexts in front. `variant_rows.py` makes the rows.
"""

from typing import Literal, get_args

Variant = Literal["calls", "plain", "shuffled"]
CALLS, PLAIN, SHUFFLED = VARIANTS = get_args(Variant)
