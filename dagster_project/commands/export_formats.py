"""The formats of `toolformer export`, as its help describes them.

Every command imports this module, so it imports nothing heavy.
"""

from typing import Literal

ExportFormat = Literal["dataset", "sft", "text"]
ArgumentsForm = Literal["objects", "json"]

# Click keeps the lines behind `\b` as they are; they fit a terminal of 80 characters.
HELP = """Write the augmented texts C* and their calls for other programs.

FORMAT is one of these; docs/export.md says how to read each.

\b
dataset     a folder for datasets.load_dataset: Parquet and a card that
            describes each column of the texts and of the kept calls
sft         JSON lines for TRL's SFTTrainer: messages (with tool_calls), tools
text        JSON lines: texts with their calls in line, as in the paper
"""
