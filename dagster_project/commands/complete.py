"""`toolformer complete`: continue a text with live tool calls."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from dagster_project.commands import console
from dagster_project.commands.options import (
    Changes,
    Day,
    ModelName,
    RunOptions,
    ToolNames,
    names_in,
)
from toolformer.decoding.completions import CLOSED, Completion, Decoding, MinCallProbability
from toolformer.errors import ToolformerError
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.models import (
    ModelLocation,
    base_model,
    finetuned_model_directory,
    is_trained,
)
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.evaluation_sections import BASE

if TYPE_CHECKING:
    from toolformer.forward.model import Model

# A mark that may end a sentence, with a possible abbreviation before it and closing quotes or
# brackets after it; or the end of a line.
_SENTENCE_END = re.compile(
    r"(?P<short>\b(?:[^\W\d_]|Mrs?|Ms|Dr|Prof|St|[JS]r|Gen|Col|Capt|Rev|Nos?|vol|ca|cf|vs|Inc|Ltd|Co))?"
    r"""(?P<mark>[.!?…]+)["'”’»)\]]*(?=\s+(?P<next>\S))|[。！？]|(?<=\S)(?=\s*\n)"""
)

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model and the tools of a home, for commands that decode. Only the first `load` is slow."""

    work: Workspace
    toolbox: Toolbox
    location: ModelLocation
    min_call_probability: MinCallProbability
    load: "Callable[[], Model]"

    def decoding(self, max_new_tokens: int | None = None) -> Decoding:
        settings = self.work.settings
        return Decoding(
            settings.decoding,
            settings.execution.max_result_tokens,
            tuple(self.toolbox.tools),
            min_call_probability=self.min_call_probability,
        ).changed(max_new_tokens=max_new_tokens or settings.decoding.max_new_tokens)

    def complete(
        self, prompts: Sequence[str], today: date, decoding: Decoding, **options: Any
    ) -> list[Completion]:
        """Continue prompts; `options` are passed to `toolformer.decoding.decoder.complete`."""
        from toolformer.decoding.decoder import complete
        from toolformer.home.wiring.execution import live_calls

        return complete(
            self.load(),
            prompts,
            decoding=decoding,
            run_calls=live_calls(self.toolbox, self.work.settings, prompts, [today] * len(prompts)),
            parse_arguments=self.toolbox.parse_arguments,
            **options,
        )


@contextmanager
def live_model(
    given: Workspace, *, tools: Sequence[str] = (), model_name: str | None, with_tools: bool = True
) -> Iterator[LiveModel]:
    """Yield the named model with the named tools, or all enabled tools; release it afterwards."""
    from toolformer.decoding.calibration import min_call_probability

    # One holder releases the model and the models of the tools together.
    work = Workspace(given.settings, given.home, ModelHolder())
    toolbox = Toolbox({}, {}, {})
    if with_tools:
        toolbox = open_toolbox(work, named=tools or None, while_decoding=True)
    location = named_model(model_name, work)
    threshold = CLOSED
    if toolbox.tools:
        named = work.settings.decoding.min_call_probability
        threshold = min_call_probability(location.directory, named)
    try:
        yield LiveModel(work, toolbox, location, threshold, partial(location.load, work))
    finally:
        work.holder.release()


@app.command()
def complete(
    text: Annotated[str, typer.Argument(help="Text to continue.")],
    tools: ToolNames = None,
    no_tools: Annotated[bool, typer.Option("--no-tools", help="Disable tool calls.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Show every token, and how likely a call was there.")
    ] = False,
    model: ModelName = None,
    today: Day = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of new tokens. Default: stop at the end of the sentence, or after "
            "decoding.max_new_tokens.",
        ),
    ] = None,
    changes: Changes = None,
) -> None:
    """Continue a text to the end of the sentence, with live tool calls."""
    options = RunOptions.of(changes, tools=names_in(tools))
    with live_model(
        options.workspace(), tools=options.tools, model_name=model, with_tools=not no_tools
    ) as live:
        decoding = live.decoding(max_tokens)
        find_end = sentence_end if max_tokens is None else None
        (completion,) = live.complete(
            [text], (today or datetime.now()).date(), decoding, find_end=find_end
        )
    console.say(text + completion.text)
    _say_why_it_ended(completion, decoding.settings.max_new_tokens)
    for undone in completion.undone_calls:
        console.say(f"(removed:{undone.text} – {undone.reason})")
    if trace:
        steps = [
            {
                "token": repr(step.text),
                "kind": step.kind,
                "rank of ' ['": step.call_rank,
                "p of ' ['": step.call_probability,
            }
            for step in completion.trace
        ]
        console.frame(pl.DataFrame(steps))


def sentence_end(text: str) -> int | None:
    """Return the offset of the end of the first sentence, or None while the end is uncertain.

    A sentence ends with its line, or after `.`, `!` or `?` and closing quotes and brackets. It does
    not end if a lower-case letter follows, or at a dot after one letter or a common abbreviation.

    Example:
        >>> sentence_end(" 3.5 kg, said Dr. Lee. Then"), sentence_end(" 3.")
        (22, None)
    """
    for found in _SENTENCE_END.finditer(text):
        is_short = found["short"] and found["mark"] == "."
        if found["mark"] is None or not (is_short or found["next"].islower()):
            return found.end()
    return None


def _say_why_it_ended(completion: Completion, max_tokens: int) -> None:
    is_sentence = completion.text_without_calls.rstrip("\"'”’»)] ").endswith((*".!?…。！？",))
    if completion.stopped_by == "length" and not is_sentence:
        console.note(
            f"(Stopped after {max_tokens} tokens, before the end of the sentence. Use --max-tokens "
            f"{2 * max_tokens} to write more.)"
        )
    elif not completion.text.strip():
        console.note("(The model ended the text at once. Give it the beginning of a sentence.)")


def named_model(name: str | None, work: Workspace) -> ModelLocation:
    """Return the location of a model; by default the finetuned model if it exists, else base."""
    from toolformer.forward.model_directory import check_model_directory

    finetuned = finetuned_model_directory(work)
    newest = work.settings.training_rounds[0]
    suffix = f" of round {newest}" if newest > 1 else ""
    if name in (None, "finetuned"):
        if is_trained(finetuned):
            return ModelLocation(finetuned)
        if name is not None:
            raise ToolformerError(
                f"There is no finetuned model{suffix} yet. Run `toolformer train` first, or use "
                "--model base."
            )
        console.say(f"(There is no finetuned model{suffix} yet, so this is the base model.)")
    if name in (None, BASE):
        return base_model(work)
    directory = Path(name).expanduser()
    check_model_directory(directory)
    return ModelLocation(directory)
