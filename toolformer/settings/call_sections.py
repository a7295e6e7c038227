"""Settings of calls that are made: while annotating and while decoding.

This module and `section.py` are copied into the folders of finetuned models
(`toolformer.generation.model_folder`), so they import nothing else of the project.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from toolformer.settings.section import Section

_Probability = Annotated[float, Field(ge=0, le=1)]


class ExecutionSettings(Section):
    """Running the tools (paper §2, "Executing API Calls")."""

    deadline_seconds: float = Field(
        default=10.0, gt=0, le=86_400, description="longest time of one call, in seconds"
    )
    attempts: int = Field(
        default=3, ge=1, description="attempts per call whose failure may be temporary"
    )
    uses_cache: bool = Field(
        default=True, description="keep answers in cache/, so that no call is made twice"
    )
    max_result_tokens: int = Field(
        default=128,
        ge=1,
        description="longest result, in tokens; longer ones are cut, in no word or number",
    )
    worker_memory_gib: float = Field(
        default=4.0,
        gt=0,
        le=1 << 20,
        description="maximum memory that the process of a plugin tool may map, in GiB",
    )
    leak_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of a result's 8-word sequences from which on the result is dropped, "
        "because the text behind the call repeats them",
    )
    allows_peeking: bool = Field(
        default=False,
        description="make calls whose arguments hold a number or a name that stands only behind "
        "them in the text, which a model cannot know while it writes; otherwise they are dropped",
    )


class DecodingSettings(Section):
    """Decoding with live calls (paper §4.2)."""

    call_top_k: int = Field(
        default=10,
        ge=0,
        description="k: a call opens where ` [` is among the k likeliest tokens; 0: never",
    )
    min_call_probability: _Probability | Mapping[str, _Probability] | None = Field(
        default=0.0,
        description="minimum probability (0 to 1) of ` [` and the name of a tool behind it for a "
        "call to open; 0: k alone decides; null: the values that `toolformer train` calibrated for "
        "the model and each tool, one for the first token behind a prompt and one for later ones, "
        "and no calls without them; a number by tool is for that tool, and the others have theirs",
    )
    max_calls: int = Field(default=1, ge=0, description="maximum number of calls per input")
    max_call_tokens: int = Field(
        default=64, ge=1, description="longest call up to `->`, in tokens; a longer one is undone"
    )
    call_attempts: int = Field(
        default=3,
        ge=1,
        description="maximum number of calls that are written in turn where one opens, until one "
        "has a result, each the next likeliest; 1: a call without a result is undone at once",
    )
    max_new_tokens: int = Field(default=60, ge=1, description="longest completion, in tokens")
