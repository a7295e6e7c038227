"""The kinds of things that a record can hold and that no text shows."""

from typing import Literal

# What is counted under each kind:
#   dates: a named date column that has a value, none of which is a complete date.
#   addresses: a named url or title column that has a value, which is no text.
#   columns: a named column that has no value in a record although others of the source have one.
#   templates: wiki templates whose content is not in the text.
#   formulas: formulas and tables of formulas that are not in the text.
#   damaged_bytes: bytes that were skipped to find the next readable record.
#   encodings: texts whose bytes are not what their encoding says.
#   marks: marks of other people's tools that stand in the text (chat turns, GSM8K's calculations).
LossKind = Literal[
    "dates",
    "addresses",
    "columns",
    "templates",
    "formulas",
    "damaged_bytes",
    "encodings",
    "marks",
]
