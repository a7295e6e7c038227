"""The presets: what a set-up smaller than the paper's changes, and why.

A preset holds only what differs from the paper's values in `sections.py` and the files it names.
"""

from typing import Any

# A small model hardly ever gives the opening of a call 5 % (8 of 4,096 positions for WikiSearch
# with the embedded model); the largest p_i still mark sensible places. So k chooses the positions
# and τ_s only cuts the tail where the model sees no reason for a call at all.
_LAPTOP: dict[str, Any] = {
    "corpus": {"shard_size": 50, "window_tokens": 256, "held_out_every": 4},
    "sampling": {"max_new_tokens": 24},
    # Once per model; the spread is known to 7 %.
    "scoring": {"calibration_calls": 100},
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
        "least_texts": 32,
        # Ten times the paper's: it is that of a model forty times as large.
        "learning_rate": 1e-4,
        "max_tokens": 512,
        "micro_batch_tokens": 512,
        "evaluate_every": 20,
        "save_every": 20,
        "development_share": 0.05,
        # A small corpus is often one site's, and repeats itself. The threshold of Lee et al. 2021.
        "near_duplicate_similarity": 0.8,
    },
    # With k alone a small model calls too early, and spends its only call.
    "decoding": {"least_call_probability": None},
    "evaluation": {"perplexity_windows": 200, "dateset_items": 94},
}

# Minutes on two cores. Thresholds are never below half the paper's.
_DEMO: dict[str, Any] = {
    "corpus": {
        "sources": [{"path": "starter-texts", "limit": 36, "shard_size": 12}],
        "window_tokens": 192,
        "held_out_every": 3,
    },
    "scoring": {"calibration_calls": 20},
    "tools": {
        # Minutes of sampling, reading and scoring more; `toolformer build --tools QA` has it.
        "QA": {"is_enabled": False, "filtering_threshold": 0.5},
        "WikiSearch": {"calls_per_position": 3, "filtering_threshold": 0.5},
        "Calendar": {"positions_per_text": 4, "filtering_threshold": 0.5},
        "Calculator": {
            "positions_per_text": 8,
            "calls_per_position": 4,
            "filtering_threshold": 0.25,
            # The starter texts are a selection already: every one with three numbers is used.
            "options": {"weak_share": 1.0},
        },
        "others": {"calls_per_position": 3, "filtering_threshold": 0.5},
    },
    "training": {
        "steps": 10,
        "least_texts": 4,
        "batch_size": 8,
        "max_tokens": 160,
        "micro_batch_tokens": 320,
        # Once, at the end: a handful of development texts cannot choose between checkpoints.
        "evaluate_every": 10,
        "save_every": 10,
    },
    "evaluation": {"perplexity_windows": 24, "dateset_items": 14, "dateset_new_tokens": 16},
}

# What each preset changes, and the preset that it builds on.
PRESETS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "paper": (None, {}),
    "laptop": (None, _LAPTOP),
    "demo": ("laptop", _DEMO),
}
