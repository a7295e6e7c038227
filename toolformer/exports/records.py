"""The records of an export, one per line: in line, as a chat, as a pair of which one is preferred.

Every field is filled in every record, so that whoever guesses types from the first lines guesses
right.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from toolformer.augmentation import KeptCall, augmented_text
from toolformer.exports.chat import asking_message, calling_message, chat_messages
from toolformer.training.contexts import text_in_context

Record = dict[str, Any]
Row = Mapping[str, Any]

_IDS = ("document_id", "window_index", "shard", "round", "split")


def text_record(row: Row) -> Record:
    """A window of C* in the paper's form, with its context in front as in training.

    Args:
        row: of `exported_texts`.
    """
    return {
        **_ids(row),
        "text": text_in_context(row["context"], augmented_text(row["text"], _calls(row))),
    }


def chat_record(row: Row, tools: Sequence[Mapping[str, Any]]) -> Record:
    """A window of C* as a conversation with tool calls (TRL: language modelling, conversational).

    Args:
        row: of `exported_texts`.
        tools: schemas of all tools that can be called.
    """
    return {
        **_ids(row),
        "messages": chat_messages(row["text"], _calls(row), row["context"]),
        "tools": list(tools),
    }


def pair_record(row: Row, tools: Sequence[Mapping[str, Any]]) -> Record:
    """A kept and a dropped call at one position (TRL: preference, conversational).

    Both answers write the text up to the position, without other calls, as when the calls were
    scored. They end with the call: its result is not the model's to write.

    Args:
        row: of `exported_pairs`.
        tools: schemas of all tools that can be called.
    """
    said = row["text"][: row["character_offset"]]
    about = {
        f"{side}_{fact}": row[f"{side}_{fact}"]
        for side in ("chosen", "rejected")
        for fact in ("call_id", "result", "loss_reduction")
    }
    return {
        **_ids(row),
        "tool": row["tool"],
        "prompt": [asking_message(row["context"])],
        "chosen": [calling_message(said, row["tool"], row["chosen_arguments"])],
        "rejected": [calling_message(said, row["tool"], row["rejected_arguments"])],
        "tools": list(tools),
        **about,
    }


def _ids(row: Row) -> Record:
    return {name: row[name] for name in _IDS}


def _calls(row: Row) -> list[KeptCall]:
    return [KeptCall(**call) for call in row["calls"]]
