"""How calls are sampled, as the settings say."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.devices import check_device, resolve_device
from toolformer.forward.memory import check_weights_fit, whole_memory
from toolformer.forward.precision import automatic_precisions
from toolformer.forward.windows import Window
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.models import ModelLocation
from toolformer.positions import proposed_positions
from toolformer.samples import (
    SampledCall,
    SamplingParameters,
    drop_misplaced,
    drop_repeated_demonstrations,
)
from toolformer.sampling import ProposedCalls, check_context, sample_shard
from toolformer.settings.sections import Settings
from tools.base import Tool, proposals_of
from tools.plugins.plugins import parse_arguments
from tools.protocol import Document, Proposal

if TYPE_CHECKING:
    from toolformer.forward.model import Model
    from toolformer.forward.tokenization import Tokenizer


def sampling_parameters(settings: Settings, tool_name: str) -> SamplingParameters:
    """What the engine is told about sampling calls of one tool."""
    tool = settings.tools.of(tool_name)
    return SamplingParameters(
        sampling_threshold=tool.sampling_threshold,
        positions_per_text=tool.positions_per_text,
        calls_per_position=tool.calls_per_position,
        max_new_tokens=settings.sampling.max_new_tokens,
        temperature=settings.sampling.temperature,
        seed=settings.sampling.seed,
        is_constrained=settings.sampling.is_constrained,
        round=settings.sampling.round,
    )


def check_can_annotate(
    model: ModelLocation, prompts: Mapping[str, str | None], settings: Settings, *, is_here: bool
) -> None:
    """Refuse, before weights are read, a model that no device or no window has room for.

    Args:
        is_here: it computes on this machine.

    Raises:
        OutOfMemoryError: its weights take more memory than the device has.
        SequenceTooLongError: a sampled or a scored row may not fit its context.
    """
    from toolformer.forward.model_directory import context_length, read_config
    from toolformer.forward.tokenization import load_tokenizer

    if model.is_served:
        # It says what it takes when it is first asked.
        return
    directory = model.directory
    tokenizer, config = load_tokenizer(directory), read_config(directory)
    length = context_length(config.get_text_config(decoder=True), directory.name)
    for name, prompt in prompts.items():
        _check_context(name, prompt, tokenizer, settings, length)
    if is_here:
        named = settings.language_model.precision
        device = resolve_device(settings.language_model.device)
        check_device(device)
        check_weights_fit(
            directory,
            precision=automatic_precisions(device)[0] if named == "auto" else named,
            device=device,
            # Another run may use it now, and this one will wait for its end.
            space=whole_memory(device),
        )


def _check_context(
    tool_name: str,
    prompt: str | None,
    tokenizer: "Tokenizer",
    settings: Settings,
    context_length: int,
) -> None:
    check_context(
        tool_name,
        prompt,
        tokenizer,
        window_tokens=settings.corpus.window_tokens,
        max_new_tokens=settings.sampling.max_new_tokens,
        max_result_tokens=settings.execution.max_result_tokens,
        is_chained=settings.sampling.is_chained,
        context_length=context_length,
    )


def proposed_calls(
    tool: Tool, documents: Mapping[str, Document], windows: Sequence[Window], kind: str
) -> list[ProposedCalls] | None:
    """What the tool proposes in each window; None where p_i alone chooses the positions.

    Args:
        documents: by id, those that the tool selected.
        kind: `sampling.proposals`.

    Raises:
        ToolBugError: a proposal lies outside its text.
    """
    if kind == "none" or not tool.makes_proposals:
        return None
    proposals = {key: proposals_of(tool, document) for key, document in documents.items()}
    if kind == "positions":
        proposals = {
            key: [Proposal(proposal.offset) for proposal in tool_proposals]
            for key, tool_proposals in proposals.items()
        }
    return [
        proposed_positions(
            proposals[window.document_id],
            start=window.start,
            text=window.text,
            offsets=window.offsets,
        )
        for window in windows
    ]


def sampled_calls(
    model: "Model",
    tool: Tool,
    prompt: str | None,
    documents: Mapping[str, Document],
    windows: Sequence[Window],
    settings: Settings,
    *,
    checkpoint: Checkpoint,
    progress: ProgressCallback,
) -> list[SampledCall]:
    """Sample the calls of one tool as the settings say.

    Args:
        prompt: its few-shot prompt; None to leave it out.

    Raises:
        SequenceTooLongError: a sampled or a scored row may not fit the model's context.
    """
    _check_context(tool.name, prompt, model.tokenizer, settings, model.context_length)
    samples = sample_shard(
        model,
        prompt,
        windows,
        tool_name=tool.name,
        takes_arguments=tool.takes_arguments,
        parse_arguments=partial(parse_arguments, tool),
        parameters=sampling_parameters(settings, tool.name),
        windows_per_batch=settings.sampling.windows_per_batch,
        window_tokens=settings.corpus.window_tokens,
        checkpoint=checkpoint,
        progress=progress,
        proposed=proposed_calls(tool, documents, windows, settings.sampling.proposals),
    )
    titles = {key: document.title for key, document in documents.items()}
    own = drop_repeated_demonstrations(samples, windows, prompt, titles)
    return drop_misplaced(own, windows, tool.check_place)
