"""What can be asked of `generate` and is refused, since decoding with calls cannot do it."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolformer.errors import UnservedGenerationError
from tools.base import Tool
from tools.calculator import Calculator
from tools.calendar import Calendar
from tools.plugins.function_tool import FunctionTool
from tools.registry import check_usable
from tools.syntax import is_tool_name

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_PREPARED = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}
_WITHOUT_DATA: dict[str, Callable[[], object]] = {"Calculator": Calculator, "Calendar": Calendar}
_OUTPUTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
_HELD_BACK = ("streamer", "assistant_model", "synced_gpus")


def check_served(
    model: "PreTrainedModel",
    input_ids: "torch.Tensor",
    logits_processor: Sequence[Any],
    stopping_criteria: Sequence[Any],
    generation_config: Any,
    model_kwargs: Mapping[str, Any],
) -> "torch.Tensor | None":
    """Refuse whatever would be ignored.

    Args:
        input_ids: int, shape `(batch, position)`.
        logits_processor, stopping_criteria, generation_config, model_kwargs: as `generate`
            prepared them.

    Returns:
        The attention mask, 0 for padding, shape `(batch, position)`; None where there is none.

    Raises:
        UnservedGenerationError: names what was asked for, and what to do.
    """
    unserved = _unserved(
        input_ids, logits_processor, stopping_criteria, generation_config, model_kwargs
    )
    if asked := ", ".join(unserved):
        raise UnservedGenerationError(
            f"generate with toolformer_generate got {asked}. Decoding with calls is greedy: it "
            "takes input_ids that are padded in front (padding_side='left'), max_new_tokens (of "
            "those outside calls) and eos_token_id, and returns sequences alone. Leave the others "
            "out, also in the model's generation_config.json."
        )
    if model.training:
        raise UnservedGenerationError(
            "The model is in training mode, in which dropout makes its tokens random. Expected "
            "evaluation mode; call model.eval()."
        )
    return model_kwargs.get("attention_mask")


def tools_by_name(tools: Sequence[Tool | str | Callable[..., object]] | None) -> dict[str, Tool]:
    """The tools, in their order, by the names that calls have.

    Raises:
        UnservedGenerationError: none were given, or one is no tool, has a name that cannot be
            called, or has the name of another.
        ToolUnavailableError: one cannot run here.
    """
    if tools is None:
        raise UnservedGenerationError(
            "toolformer_generate got no tools. Pass tools=[Calculator()], or [] for no calls. "
            "A pipeline keeps tools= for chat templates: give it "
            "custom_generate=functools.partial(toolformer_generate, tools=[Calculator()])."
        )
    by_name: dict[str, Tool] = {}
    for given in tools:
        tool = (
            _WITHOUT_DATA[given]() if isinstance(given, str) and given in _WITHOUT_DATA else given
        )
        if callable(tool) and not isinstance(tool, type | Tool):
            about = tool.__doc__ or f"The tool {tool!r}."
            tool = FunctionTool.from_function(tool, description=about, version="given")
        if not isinstance(tool, Tool):
            raise UnservedGenerationError(
                f"tools has {tool!r}, which is no tool. Expected 'Calculator', 'Calendar', typed "
                "functions, or tools that are ready for use, as in tools=[Calculator()]; derive "
                "your own from tools.base.Tool."
            )
        name = getattr(tool, "name", None)
        if not isinstance(name, str) or not is_tool_name(name) or name in by_name:
            problem = "cannot be written in a call" if name not in by_name else "is there twice"
            raise UnservedGenerationError(
                f"tools has a tool named {name!r}, a name that {problem}. Expected one tool for "
                "each name, of ASCII letters, digits and '_', without a digit in front."
            )
        check_usable(tool, name)
        by_name[name] = tool
    return by_name


def check_values(
    min_call_probability: float | Mapping[str, float] | None, tools: Collection[str]
) -> None:
    """Refuse a minimum probability of a tool that is not there.

    Raises:
        UnservedGenerationError: names the tool.
    """
    named = min_call_probability if isinstance(min_call_probability, Mapping) else {}
    if unknown := sorted(named.keys() - {*tools}):
        raise UnservedGenerationError(
            f"min_call_probability names {unknown[0]!r}, which tools= does not have. Expected "
            f"some of {', '.join(tools) or 'none'}."
        )


def _unserved(
    input_ids: "torch.Tensor",
    logits_processor: Sequence[Any],
    stopping_criteria: Sequence[Any],
    config: Any,
    model_kwargs: Mapping[str, Any],
) -> Iterator[str]:
    """What was asked for and would be ignored."""
    from transformers.generation.configuration_utils import GenerationMode

    mode = config.get_generation_mode()
    if mode is not GenerationMode.GREEDY_SEARCH:
        yield f"settings of {mode.value.replace('_', ' ')}"
    if config.max_new_tokens is None:
        yield "no max_new_tokens"
    yield from _held_back()
    others = (each for each in stopping_criteria if not _is_of_config(each, config))
    yield from (type(each).__name__ for each in (*logits_processor, *others))
    yield from (name for name in _OUTPUTS if getattr(config, name, None))
    if config.cache_implementation not in (None, "dynamic"):
        yield f"cache_implementation={config.cache_implementation!r}"
    given = {name: value for name, value in model_kwargs.items() if value is not None}
    yield from sorted(given.keys() - _PREPARED)
    if getattr(given.get("past_key_values"), "_is_user_defined", False):
        yield "past_key_values"
    mask = given.get("attention_mask")
    mask = input_ids.new_ones(input_ids.shape) if mask is None else (mask != 0).long()
    if (mask.diff(dim=1) < 0).any():
        yield "an attention_mask with zeros behind tokens"
    counted = (mask.cumsum(dim=1) - 1) * mask
    if "position_ids" in given and (given["position_ids"] * mask != counted).any():
        yield "position_ids"


def _held_back() -> list[str]:
    """Arguments that `generate` was given and keeps from its callable.

    A streamer that nobody feeds would let its reader wait for ever.
    """
    from transformers import GenerationMixin

    generate: Any = vars(GenerationMixin)["generate"]
    code = inspect.unwrap(generate).__code__
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    given = {} if frame is None else frame.f_locals
    return [name for name in _HELD_BACK if given.get(name) not in (None, False)]


def _is_of_config(criterion: Any, config: Any) -> bool:
    """Whether a criterion says no more than `max_new_tokens` or `eos_token_id`."""
    import torch
    from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria

    if isinstance(criterion, MaxLengthCriteria):
        return criterion.max_length == config.max_length
    if isinstance(criterion, EosTokenCriteria) and config._eos_token_tensor is not None:
        return torch.equal(criterion.eos_token_id, config._eos_token_tensor)
    return False
