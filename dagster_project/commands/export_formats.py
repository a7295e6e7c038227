"""The formats of `toolformer export`, as its help describes them.

Every command imports this module, so it imports nothing heavy.
"""

from typing import Literal

ExportFormat = Literal["dataset", "sft", "text", "duckdb"]
ArgumentsForm = Literal["objects", "json"]

# Click keeps the lines behind `\b` as they are; they fit a terminal of 80 characters.
HELP = """Write the augmented texts C* and their calls for other programs.

FORMAT is one of these. IDS are document_id, window_index, shard, round and split.

\b
dataset     a folder for datasets.load_dataset: Parquet and a card
  augmented_texts
            IDS, context, text, window_offset, calls (call_id, position,
            character_offset, tool, arguments, result, loss_reduction)
  kept_calls
            call_id, document_id, window_index, shard, round, tool, arguments,
            result, position, character_offset, call_probability,
            loss_without_call, loss_call_without_result,
            loss_with_result, loss_with_swapped_result, loss_reduction,
            filtering_threshold, contrast_threshold, baseline, precision,
            tool_version, is_merged
sft         JSON lines for TRL's SFTTrainer: IDS, messages (with
            tool_calls), tools
text        JSON lines: IDS, text with its calls in line, as in the paper
duckdb      one DuckDB file with all tables and views of the warehouse

docs/export.md says how to read each.
"""
