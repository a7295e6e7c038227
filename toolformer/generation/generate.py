"""Decoding with tools for the `generate` of transformers: token ids in, token ids out.

    [pad pad] prompt | text … [ Calculator(6 * 7) -> 42 ] | text … end [pad]
    as it was given    as `toolformer.decoding` decodes it

The options of `generate` are passed on to the decoder; `refusals` refuses those it does not have.
"""

import copy
import datetime
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from toolformer.base.beside_models import MIN_CALL_PROBABILITY_FILE, RECORD_FILE
from toolformer.decoding.calibration import min_call_probability as calibrated_probability
from toolformer.decoding.completions import CLOSED, Completion, Decoding
from toolformer.decoding.decoder import complete
from toolformer.errors import ModelNotFoundError
from toolformer.forward.tokenization import Tokenizer, check_writes_calls, load_tokenizer
from toolformer.generation.refusals import check_served, check_values, tools_by_name
from toolformer.settings.call_sections import DecodingSettings, ExecutionSettings
from tools.base import Tool
from tools.calendar import Calendar
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document
from tools.running.deadlines import Limits
from tools.running.execution import call_runner

_DECODING, _EXECUTION = DecodingSettings(), ExecutionSettings()

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.generation.utils import GenerateDecoderOnlyOutput

    from toolformer.forward.language_model import LanguageModel

# By model, with what they were made for. Probing a model and reading its tokenizer takes longer
# than decoding a short answer.
_LANGUAGE_MODELS: "WeakKeyDictionary[PreTrainedModel, tuple[tuple[object, ...], LanguageModel]]" = (
    WeakKeyDictionary()
)


# No parameter is named `attention_mask`: transformers would keep the mask from its own preparation.
def toolformer_generate(
    model: "PreTrainedModel",
    input_ids: "torch.Tensor",
    logits_processor: Sequence[Any],
    stopping_criteria: Sequence[Any],
    generation_config: "GenerationConfig",
    *,
    tools: "Sequence[Tool | str | Callable[..., object]] | None" = None,
    date: datetime.date | None = None,
    call_top_k: int = _DECODING.call_top_k,
    min_call_probability: float | Mapping[str, float] | None = None,
    max_calls: int = _DECODING.max_calls,
    max_call_tokens: int = _DECODING.max_call_tokens,
    call_attempts: int = _DECODING.call_attempts,
    max_result_tokens: int = _EXECUTION.max_result_tokens,
    deadline_seconds: float = _EXECUTION.deadline_seconds,
    processing_class: "PreTrainedTokenizerBase | None" = None,
    **model_kwargs: Any,
) -> "torch.Tensor | GenerateDecoderOnlyOutput":
    """Decode greedily with live calls, as `model.generate(…, custom_generate=toolformer_generate)`.

    The tokens are those of `toolformer.decoding.decoder.complete`. It puts the model's start token
    in front of every prompt, the tokenizer's own where that puts one there, and never a second one.
    `max_new_tokens` counts the tokens outside calls. `eos_token_id` and `pad_token_id` are those of
    `generate`; the start token ends a text too. The keys and values are the decoder's own, whatever
    `use_cache` says.

    Args:
        input_ids: the prompts, padded on the left; int, shape `(batch, position)`.
        logits_processor: prepared by `generate`; must be empty.
        stopping_criteria: prepared by `generate`; only length and end of text are served.
        generation_config: prepared by `generate`; must ask for greedy search and `max_new_tokens`.
        tools: tools that may be called, ready for use, or `"Calculator"`, `"Calendar"` and typed
            functions, which are called by their names; an empty sequence bans the token that opens
            a call. None is refused: a pipeline of transformers keeps `tools=` to itself.
        date: what the Calendar takes for today, by default the present day.
        call_top_k: k of the trigger; 1 is plain greedy decoding, 0 never opens a call.
        min_call_probability: a call is opened only where ` [` and the name of its tool also have
            this probability, given for all tools or by tool; 0 leaves k alone to decide, as in the
            paper. None, and a tool without a number, takes what `toolformer train` calibrated for
            each tool, for the first token behind a prompt and for later ones, from the directory
            that the model was loaded from; without that no call is opened, and the log says so.
        max_calls: most calls with a result per prompt.
        max_call_tokens: a call with more tokens than this before `->` is undone.
        call_attempts: most calls that are written in turn where one opens, until one has a result.
        max_result_tokens: results are cut to this many tokens.
        deadline_seconds: longest time of one call; without an answer by then it is undone.
        processing_class: the tokenizer, by default that of the directory or hub name that the
            model was loaded from. Transformers does not hand `tokenizer=` on.
        model_kwargs: what `generate` would feed to the model.

    Returns:
        Prompts as given and what follows them, calls, results and the token that ended the text
        included, padded on the right; int, shape `(batch, position)`. With
        `return_dict_in_generate=True` an object that has them as `sequences`.

    Raises:
        UnservedGenerationError: `generate` was told what this decoding cannot do.
        ToolformerError: the model's calibration is damaged.
        ModelNotFoundError: the tokenizer cannot be found, or the engine cannot read the model.
        SequenceTooLongError: a prompt leaves no room for its continuation.
        ToolUnavailableError: a tool cannot run here.

    Paper: §2 (inference), §4.2 (top k, at most one call for each input).
    """
    attention_mask = check_served(
        model, input_ids, logits_processor, stopping_criteria, generation_config, model_kwargs
    )
    named = {name: _for_prompts(tool) for name, tool in tools_by_name(tools).items()}
    check_values(min_call_probability, named)
    settings = DecodingSettings(
        max_new_tokens=generation_config.max_new_tokens or 0,
        call_top_k=call_top_k,
        min_call_probability=min_call_probability,
        max_calls=max_calls,
        max_call_tokens=max_call_tokens,
        call_attempts=call_attempts,
    )
    execution = ExecutionSettings(
        max_result_tokens=max_result_tokens, deadline_seconds=deadline_seconds
    )
    directory = _directory(model)
    language_model = _language_model(model, processing_class)
    prompt_ids = _prompt_ids(input_ids, attention_mask, language_model)
    prompts = [language_model.tokenizer.decode(ids) for ids in prompt_ids]
    today = date or datetime.date.today()
    askers = [
        Document(document_id=f"prompt-{number}", text=prompt, published_on=today)
        for number, prompt in enumerate(prompts)
    ]
    completions = complete(
        language_model,
        prompts,
        prompt_ids=prompt_ids,
        decoding=Decoding(
            settings,
            execution.max_result_tokens,
            tuple(named),
            # Without tools there is nothing to open, and nothing to be said of it.
            min_call_probability=calibrated_probability(directory, min_call_probability)
            if named
            else CLOSED,
        ),
        run_calls=call_runner(
            named, askers, limits=Limits(execution.deadline_seconds, attempts=execution.attempts)
        ),
        parse_arguments=lambda name, text: parse_arguments(named[name], text),
        end_ids=_end_ids(language_model, generation_config.eos_token_id),
    )
    return _returned(input_ids, completions, generation_config, language_model)


def _for_prompts(tool: Tool) -> Tool:
    """A Calendar that reads the date of an address reads the given one: a prompt has no address."""
    if isinstance(tool, Calendar) and tool.date_source == "url":
        return Calendar(date_source="published_on")
    return tool


def _language_model(
    model: "PreTrainedModel", processing_class: "PreTrainedTokenizerBase | None"
) -> "LanguageModel":
    """The model as the engine uses it; made anew where it was moved, cast or resized."""
    from toolformer.forward.language_model import LanguageModel

    head = model.get_output_embeddings()
    made_for = (processing_class, model.name_or_path, model.device, model.dtype, head)
    known = _LANGUAGE_MODELS.get(model)
    if known is not None and known[0] == made_for:
        return known[1]
    tokenizer = _read_tokenizer(model) if processing_class is None else Tokenizer(processing_class)
    check_writes_calls(tokenizer)
    made = LanguageModel(
        # It shares all parts with the model, which is freed with the last reference to itself.
        copy.copy(model),
        tokenizer,
        name=str(model.name_or_path),
        bos_token=_start_of_training(_directory(model)),
    )
    _LANGUAGE_MODELS[model] = made_for, made
    return made


def _directory(model: "PreTrainedModel") -> Path | None:
    """Where the files beside the weights lie; those of a model on a hub are fetched."""
    name = model.name_or_path
    if name and not Path(name).is_dir():
        from huggingface_hub import snapshot_download

        of_weights = getattr(model.config, "_commit_hash", None)
        with suppress(OSError, ValueError):
            files = [MIN_CALL_PROBABILITY_FILE, RECORD_FILE]
            return Path(snapshot_download(name, revision=of_weights, allow_patterns=files))
    return Path(name) if name else None


def _start_of_training(directory: Path | None) -> str | None:
    """The start token that a finetuned model was trained with; None: the one used in scoring."""
    if directory is None or not (directory / RECORD_FILE).is_file():
        return None
    return json.loads((directory / RECORD_FILE).read_text()).get("bos_token")


def _read_tokenizer(model: "PreTrainedModel") -> Tokenizer:
    remedy = (
        "Save the tokenizer in the model's directory, or pass it to generate as "
        "processing_class=tokenizer (transformers does not hand tokenizer= on)."
    )
    if not model.name_or_path:
        raise ModelNotFoundError(
            f"The {type(model).__name__} was not loaded from a directory, so that its tokenizer is "
            f"not known. {remedy}"
        )
    try:
        return load_tokenizer(Path(model.name_or_path))
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error} {remedy}") from error


def _prompt_ids(
    input_ids: "torch.Tensor", attention_mask: "torch.Tensor | None", model: "LanguageModel"
) -> list[list[int]]:
    """The tokens of each prompt, without padding and without a start in front."""
    mask = input_ids.new_ones(input_ids.shape) if attention_mask is None else attention_mask
    starts = [start for start in ([*model.tokenizer.start_ids], [model.bos_id]) if start]
    prompts = []
    for row, seen in zip(input_ids, mask, strict=True):
        ids = row[seen != 0].tolist()
        # One of them, so that a start token that belongs to the text stays.
        start = next((start for start in starts if ids[: len(start)] == start), [])
        prompts.append(ids[len(start) :])
    return prompts


def _end_ids(model: "LanguageModel", given: int | Sequence[int] | None) -> frozenset[int]:
    """Tokens that end a text: the decoder's own, unless `generate` was given others."""
    configured = _id_set(model.model.generation_config.eos_token_id)
    if _id_set(given) == configured:
        return model.end_ids
    return _id_set(given) | {model.bos_id}


def _id_set(ids: int | Collection[int] | None) -> frozenset[int]:
    return frozenset([ids] if isinstance(ids, int) else ids or ())


def _returned(
    input_ids: "torch.Tensor",
    completions: Sequence[Completion],
    generation_config: Any,
    model: "LanguageModel",
) -> "torch.Tensor | GenerateDecoderOnlyOutput":
    import torch
    from transformers.generation.utils import GenerateDecoderOnlyOutput

    pad = generation_config._pad_token_tensor
    new = [completion.token_ids for completion in completions]
    behind = input_ids.new_full(
        (len(new), max(map(len, new))), model.bos_id if pad is None else int(pad)
    )
    for row, ids in enumerate(new):
        behind[row, : len(ids)] = input_ids.new_tensor(ids)
    sequences: Any = torch.cat([input_ids, behind], dim=1)
    if generation_config.return_dict_in_generate:
        return GenerateDecoderOnlyOutput(sequences=sequences)
    return sequences
