"""The presets: what a set-up smaller than the paper's changes, and why.

A preset holds only what differs from the paper's values in the sections.
"""

from typing import Any

from toolformer.settings.corpus_sections import (
    STARTER_ARTICLES,
    STARTER_PEOPLE,
    STARTER_SUMS,
    STARTER_TEXTS,
)
from tools.plugins.table_tool import TABLE_TOOL

# A small model hardly ever gives the opening of a call 5 % (8 of 4,096 positions for WikiSearch
# with the embedded model); the largest p_i still mark sensible places. So k chooses the positions
# and τ_s only cuts the tail where the model sees no reason for a call at all.
_LAPTOP: dict[str, Any] = {
    "corpus": {"shard_size": 50, "window_tokens": 256, "held_out_every": 4},
    "sampling": {"max_new_tokens": 24},
    "execution": {"max_result_tokens": 64},
    "tools": {
        "QA": {"sampling_threshold": 0.0005, "positions_per_text": 3, "calls_per_position": 2},
        "WikiSearch": {
            "sampling_threshold": 0.0005,
            "positions_per_text": 3,
            "calls_per_position": 2,
        },
        # The call has no arguments, so a position has one sample whatever m.
        "Calendar": {
            "sampling_threshold": 0.0005,
            "positions_per_text": 3,
            "calls_per_position": 1,
        },
        "Calculator": {"positions_per_text": 4, "calls_per_position": 3},
        "MT": {"positions_per_text": 4, "calls_per_position": 3},
        "others": {"sampling_threshold": 0.0005, "positions_per_text": 3, "calls_per_position": 2},
    },
    "training": {
        "batch_size": 16,
        "epochs": 3,
        "min_texts": 32,
        # The paper's is that of a model forty times as large as the embedded one.
        "learning_rate": "auto",
        # A row has one or two tokens that choose the tool, among a hundred and more.
        "loss_weights": {"tool": 5.0},
        "max_tokens": 512,
        "micro_batch_tokens": 512,
        "evaluations": 5,
        "save_every": 20,
        "development_share": 0.05,
        # A small corpus is often one site's, and repeats itself. The threshold of Lee et al. 2021.
        "near_duplicate_similarity": 0.8,
    },
    # With k alone a small model calls too early, and spends its only call.
    "decoding": {"min_call_probability": None},
    "evaluation": {"perplexity_windows": 200, "dateset_items": 94},
}

# Minutes on two cores. Thresholds are never below half the paper's. Left to itself this model finds
# no places at which calls are kept more often than by chance; at those that the tools propose it
# tells the right results from others, and the contrast drops what any result would do.
_DEMO: dict[str, Any] = {
    "corpus": {
        # Each tool has its own texts, so that each has development texts to calibrate on. Only the
        # last shard of starter-texts is held out: it measures perplexity.
        "sources": [
            {
                "path": STARTER_TEXTS,
                "limit": 96,
                "shard_size": 12,
                "tools": ["Calendar", "QA", "MT"],
            },
            {"path": STARTER_SUMS, "shard_size": 36, "tools": ["Calculator"]},
            {"path": STARTER_PEOPLE, "shard_size": 96, "tools": ["Facts"]},
            # Few: results of WikiSearch take long to read, and help this model hardly at all.
            {"path": STARTER_ARTICLES, "shard_size": 16, "tools": ["WikiSearch"]},
        ],
        "window_tokens": 192,
        "held_out_every": 8,
    },
    "sampling": {"proposals": "calls", "temperature": 0.3},
    "scoring": {"chance_calls": 5},
    "tools": {
        # Minutes of sampling, reading and scoring more; `toolformer build --tools QA` has it.
        "QA": {"is_enabled": False, "filtering_threshold": 0.5, "contrast_threshold": 0.1},
        # Hardly a phrase in another language stands in these texts.
        "MT": {"is_enabled": False},
        "WikiSearch": {
            "positions_per_text": 1,
            "calls_per_position": 1,
            "filtering_threshold": 0.5,
            "contrast_threshold": 0.1,
            "options": {"sentences": 1},
        },
        "Calendar": {"filtering_threshold": 0.5, "contrast_threshold": 0.1},
        "Calculator": {
            "calls_per_position": 1,
            "filtering_threshold": 0.25,
            "contrast_threshold": 0.1,
        },
        "Facts": {
            "class": TABLE_TOOL,
            "calls_per_position": 1,
            # The paper's: nearly every fact reaches it, and few others in its place.
            "filtering_threshold": 1.0,
            "contrast_threshold": 0.5,
            "options": {
                "table": STARTER_PEOPLE,
                "key": ["subject", "relation"],
                "values": ["value"],
                "description": "Looks up where people were born, what they do and what they play.",
                # Of people who are not in the table.
                "examples": [
                    "Lena Ruff was born in [Facts(Lena Ruff, place of birth)] Mill Hill.",
                    "Otto Bann works as a [Facts(Otto Bann, profession)] barber.",
                    "The instrument of Mia Gove is the [Facts(Mia Gove, instrument)] drum.",
                ],
            },
        },
        "others": {"calls_per_position": 3, "filtering_threshold": 0.5},
    },
    "training": {
        # Eight development texts with calls, and some more, calibrate when calls open.
        "development_share": 0.2,
        "epochs": 2,
        "min_texts": 4,
        "batch_size": 8,
        "max_tokens": 256,
        "save_every": 10,
    },
    "evaluation": {"benchmarks": ("perplexity", "sums", "facts"), "perplexity_windows": 24},
}

# A recipe for the embedded model, with what helps a small one (docs/results.md): places and calls
# that the tools propose, low thresholds with a contrast, and a second round in which the model that
# was taught by the first finds places and calls itself.
_SMALL: dict[str, Any] = {
    "corpus": {"held_out_every": 8},
    "sampling": {"temperature": 0.3},
    "tools": {
        # Their results help this model on hardly any text, and are slow to get.
        "QA": {"is_enabled": False},
        "MT": {"is_enabled": False},
        "Calculator": {"calls_per_position": 1, "filtering_threshold": 0.1},
        "Calendar": {"filtering_threshold": 0.1, "contrast_threshold": 0.05},
        "WikiSearch": {
            "positions_per_text": 2,
            "calls_per_position": 1,
            "filtering_threshold": 0.1,
            "contrast_threshold": 0.2,
            # The fewer words, the easier to read.
            "options": {"sentences": 1},
        },
    },
    "training": {
        "batch_size": 8,
        "epochs": 1,
        "development_share": 0.1,
        "plain_share": 0.25,
        # Else the tool with most calls is called everywhere.
        "max_texts_per_tool": 120,
    },
    "evaluation": {"items": 200, "dateset_items": 200},
    "rounds": (
        {"sampling": {"shards": 9, "proposals": "calls"}},
        {
            # The others' calls of a second round are kept no more often than by chance.
            "sampling": {"shards": 15, "uses_prompt": False, "tools": ["Calculator"]},
            # The paper's: a model that knows calls gives few places more, and the right ones.
            "tools": {"Calculator": {"sampling_threshold": 0.05}},
            "scoring": {"placement": "inline"},
            "training": {"rounds": [1, 2]},
        },
    ),
}

# What each preset changes, and the preset that it builds on.
PRESETS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "paper": (None, {}),
    "laptop": (None, _LAPTOP),
    "demo": ("laptop", _DEMO),
    "small": ("laptop", _SMALL),
}
