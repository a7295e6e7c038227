"""Estimates the cost of annotating millions of texts: GPU hours, disk, searches (docs/scale.md).

It only multiplies the inputs below, whose sources are in docs/scale.md, and needs no model, home or
GPU. A text is one window. `--set` replaces an input of all tools or of one tool.

    python -m benchmarks.scale [--texts 1e6 1e9] [--tools WikiSearch Calculator] [--preset paper]
        [--set window_tokens=512 WikiSearch.kept_texts=0.1 …]
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

# k and m. A call without arguments is sampled once per position, regardless of m.
PRESETS = {
    "laptop": {"QA": (3, 2), "WikiSearch": (3, 2), "Calculator": (4, 3), "Calendar": (3, 1)},
    "paper": {"QA": (5, 5), "WikiSearch": (5, 5), "Calculator": (20, 10), "Calendar": (5, 1)},
    "one proposed call": dict.fromkeys(("QA", "WikiSearch", "Calculator", "Calendar"), (1, 1)),
}


@dataclass(frozen=True, slots=True)
class ToolInputs:
    """Inputs that differ between tools; tokens are of the annotating model's vocabulary.

    Attributes:
        selected: share of texts that the tool selects.
        positions, calls: k and m; k is an upper bound if τ_s lets fewer positions pass.
        prompt_tokens: tokens of the tool's prompt before the text.
        decoded_tokens, scored_tokens: tokens decoded per sample and fed per scored call.
        asked, scored: shares of samples that are executed, and that have a result to score.
        passages, searches: per executed call; the language model reads the passages.
        kept_texts: share of selected texts that keep a call.
        wanted_texts: number of texts with calls that the paper trained on.
    """

    selected: float
    prompt_tokens: float
    decoded_tokens: float
    asked: float
    scored: float
    scored_tokens: float
    kept_texts: float
    wanted_texts: float
    passages: float = 0
    searches: float = 0
    positions: float = 1
    calls: float = 1

    @property
    def samples(self) -> float:
        return self.positions * self.calls


@dataclass(frozen=True, slots=True)
class Inputs:
    """Inputs that all tools share.

    Attributes:
        window_tokens: tokens of a text.
        block_tokens: tokens at the end of a cached prompt that are fed again.
        reader_prompt_tokens, passage_tokens: QA's prompt; a passage with the question.
        answer_tokens: tokens decoded per passage, for four answers.
        body_parameters, head_parameters: weights of the layers and of the output layer.
        weight_bytes, key_bytes: bytes per weight, and per token for its keys and values.
        flops, memory_bandwidth: peak operations and bytes per second of a GPU.
        decoding_batch: samples that are decoded at the same time.
        text_bytes, sample_bytes: bytes stored per text, and per sample in all tables.
        search_seconds: processor seconds per search.
    """

    window_tokens: float = 256
    block_tokens: float = 12
    reader_prompt_tokens: float = 176
    passage_tokens: float = 160
    answer_tokens: float = 16
    body_parameters: float = 7.0e9
    head_parameters: float = 0.6e9
    weight_bytes: float = 2
    key_bytes: float = 147_456
    flops: float = 989e12
    memory_bandwidth: float = 3.35e12
    decoding_batch: float = 256
    gpus: float = 8
    text_bytes: float = 800
    sample_bytes: float = 400
    shard_texts: float = 1000
    shard_files: float = 21
    search_seconds: float = 0.01


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that runs the model; ranges are (low, high).

    Attributes:
        compute_share: share of the peak that is reached while reading.
        bandwidth_share: share of the memory bandwidth that is reached while decoding.
        is_server: whether each request contains its whole prompt.
        has_cache: whether a server caches prefixes. Requests for log-probabilities do not use it.
    """

    name: str
    compute_share: tuple[float, float]
    bandwidth_share: tuple[float, float]
    is_server: bool = False
    has_cache: bool = True


class Tokens(NamedTuple):
    """Tokens that the model reads without or with the output layer, or decodes one at a time."""

    read: float
    with_log_probabilities: float
    decoded: float


# Inputs for k = m = 1; `tools_of` sets the k and m of a preset.
TOOLS = {
    "QA": ToolInputs(
        selected=1.0,
        prompt_tokens=169,
        decoded_tokens=6,
        asked=0.91,
        scored=0.54,
        scored_tokens=175,
        kept_texts=1 / 300,
        wanted_texts=18_526,
        passages=3,
        searches=1,
    ),
    "WikiSearch": ToolInputs(
        selected=1.0,
        prompt_tokens=170,
        decoded_tokens=6,
        asked=0.87,
        scored=0.70,
        scored_tokens=175,
        kept_texts=7 / 300,
        wanted_texts=25_000,
        searches=1,
    ),
    "Calculator": ToolInputs(
        selected=0.14,
        prompt_tokens=424,
        decoded_tokens=4,
        asked=0.98,
        scored=0.60,
        scored_tokens=126,
        kept_texts=1 / 70,
        wanted_texts=3_680,
    ),
    "Calendar": ToolInputs(
        selected=0.18,
        prompt_tokens=175,
        decoded_tokens=0,
        asked=1.0,
        scored=1.0,
        scored_tokens=33,
        kept_texts=6 / 250,
        wanted_texts=20_587,
    ),
}
ENGINES = (
    Engine("our engine", (0.2, 0.4), (0.1, 0.3)),
    Engine("vLLM", (0.3, 0.6), (0.4, 0.8), is_server=True),
    Engine("vLLM, no prefix cache", (0.3, 0.6), (0.4, 0.8), is_server=True, has_cache=False),
)

# Label, preset of k and m, tools left out, changed inputs.
CHOICES = (
    ("laptop, four tools", "laptop", (), ()),
    ("k and m of the paper", "paper", (), ()),
    ("without QA", "laptop", ("QA",), ()),
    ("without QA, k and m of the paper", "paper", ("QA",), ()),
    ("without QA, one call per tool and text", "one proposed call", ("QA",), ()),
    (
        "without QA, a model of 1.7B",
        "laptop",
        ("QA",),
        ("body_parameters=1.4e9", "head_parameters=0.3e9", "key_bytes=114688"),
    ),
)


def tokens_per_text(tool: ToolInputs, inputs: Inputs, engine: Engine) -> dict[str, Tokens]:
    """Return the tokens per text (selected or not) of sampling, execution and scoring."""
    # The text is in the prompt, and again in the continuation.
    texts = 2 * inputs.window_tokens
    questions = tool.samples * tool.asked * tool.passages
    answer_tokens = questions * inputs.answer_tokens
    scored = tool.samples * tool.scored * tool.scored_tokens
    if engine.is_server:
        before_sample = before_answer = inputs.block_tokens
        reader_prompt = inputs.reader_prompt_tokens + inputs.passage_tokens
        if not engine.has_cache:
            # On average, half of the text is before a sample.
            before_sample = tool.prompt_tokens + 1.5 * inputs.window_tokens
            before_answer = reader_prompt
        samples = tool.samples if tool.decoded_tokens else 0
        sampling = samples * before_sample, tool.prompt_tokens + texts
        # Each token of an answer is a request to the server.
        execution = answer_tokens * before_answer, questions * reader_prompt
        scoring = 0.0, scored
    else:
        # Prompts were read before, and only a few states become logits.
        sampling = texts, 0.0
        execution = questions * inputs.passage_tokens, 0.0
        scoring = scored, 0.0
    stages = {
        "sampling": Tokens(*sampling, tool.samples * tool.decoded_tokens),
        "execution": Tokens(*execution, answer_tokens),
        "scoring": Tokens(*scoring, 0.0),
    }
    return {
        stage: Tokens(*(tool.selected * each for each in tokens))
        for stage, tokens in stages.items()
    }


def seconds(tokens: Tokens, inputs: Inputs, compute_share: float, bandwidth_share: float) -> float:
    """Return the seconds on one GPU: reading is bound by compute, decoding by memory."""
    body, head = 2 * inputs.body_parameters, 2 * inputs.head_parameters
    operations = tokens.read * body + tokens.with_log_probabilities * (body + head)
    weights = (inputs.body_parameters + inputs.head_parameters) * inputs.weight_bytes
    # Prompt, text and continuation: about three windows.
    keys = inputs.decoding_batch * 3 * inputs.window_tokens * inputs.key_bytes
    moved = (weights + keys) / inputs.decoding_batch * tokens.decoded
    reading = operations / (inputs.flops * compute_share)
    return reading + moved / (inputs.memory_bandwidth * bandwidth_share)


def gpu_hours(
    texts: float, tools: Mapping[str, ToolInputs], inputs: Inputs, engine: Engine
) -> tuple[float, float]:
    """Return the minimum and the maximum."""
    stages = [tokens_per_text(tool, inputs, engine) for tool in tools.values()]
    tokens = [each for of_tool in stages for each in of_tool.values()]
    most, fewest = (
        texts / 3600 * sum(seconds(each, inputs, compute, bandwidth) for each in tokens)
        for compute, bandwidth in zip(engine.compute_share, engine.bandwidth_share, strict=True)
    )
    return fewest, most


def disk_bytes(texts: float, tools: Mapping[str, ToolInputs], inputs: Inputs) -> float:
    samples = sum(tool.selected * tool.samples for tool in tools.values())
    return texts * (inputs.text_bytes + samples * inputs.sample_bytes)


def searches(texts: float, tools: Mapping[str, ToolInputs]) -> float:
    """Return the number of searches of all tools, without cache hits."""
    return texts * sum(
        tool.selected * tool.samples * tool.asked * tool.searches for tool in tools.values()
    )


def needed_texts(tool: ToolInputs) -> float:
    """Return how many texts to annotate to keep as many texts with calls as the paper had."""
    return tool.wanted_texts / (tool.selected * tool.kept_texts)


def tools_of(preset: str) -> dict[str, ToolInputs]:
    return {
        name: replace(TOOLS[name], positions=positions, calls=calls)
        for name, (positions, calls) in PRESETS[preset].items()
    }


def with_changes(
    tools: Mapping[str, ToolInputs], inputs: Inputs, changes: Sequence[str]
) -> tuple[dict[str, ToolInputs], Inputs]:
    """Return the inputs with changes such as `text_bytes=500` or `QA.positions=3`."""
    tools = dict(tools)
    for change in changes:
        path, _, value = change.partition("=")
        tool, _, name = path.rpartition(".")
        owner = tools.get(tool) if tool else inputs
        if owner is None or name not in {field.name for field in fields(owner)}:
            raise ValueError(
                f"{path!r} is not an input. Expected a name such as text_bytes or QA.positions. "
                "benchmarks/scale.py lists all names."
            )
        if isinstance(owner, Inputs):
            inputs = replace(inputs, **{name: float(value)})
        else:
            tools[tool] = replace(owner, **{name: float(value)})
    return tools, inputs


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=float, nargs="+", default=[1e6, 1e7, 1e9])
    parser.add_argument("--tools", choices=list(TOOLS), nargs="+", default=list(TOOLS))
    parser.add_argument("--preset", choices=list(PRESETS), default="laptop", help="k and m")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", dest="changes")
    options = parser.parse_args(arguments)
    try:
        tools, inputs = with_changes(tools_of(options.preset), Inputs(), options.changes)
    except ValueError as error:
        parser.error(str(error))
    tools = {name: tools[name] for name in options.tools}
    _print_tokens(tools, inputs)
    _print_sizes(options.texts, tools, inputs)
    _print_choices(options.changes)
    _print_needed(tools, inputs)


def _print_tokens(tools: Mapping[str, ToolInputs], inputs: Inputs) -> None:
    engines = [f"read by {engine.name}" for engine in ENGINES]
    _print_header("tool", "stage", *engines, "decoded")
    for name, tool in tools.items():
        of_engines = [tokens_per_text(tool, inputs, engine) for engine in ENGINES]
        for stage, tokens in of_engines[0].items():
            if tokens.read:
                read = [f"{sum(each[stage][:2]):,.0f}" for each in of_engines]
                _print_row(name, stage, *read, f"{tokens.decoded:,.0f}")


def _print_sizes(texts: Sequence[float], tools: Mapping[str, ToolInputs], inputs: Inputs) -> None:
    _print_header("what", *[f"{count:,.0f} texts" for count in texts])
    for engine in ENGINES:
        hours = [gpu_hours(count, tools, inputs, engine) for count in texts]
        days = [tuple(each / inputs.gpus / 24 for each in few_and_many) for few_and_many in hours]
        _print_row(f"GPU hours, {engine.name}", *map(_range, hours))
        _print_row(f"days on {inputs.gpus:.0f} GPUs, {engine.name}", *map(_range, days))
    shards = [count / inputs.shard_texts for count in texts]
    asked = [searches(count, tools) for count in texts]
    core_hours = [each * inputs.search_seconds / 3600 for each in asked]
    _print_row("warehouse, GB", *[_number(disk_bytes(n, tools, inputs) / 1e9) for n in texts])
    _print_row("shards", *map(_number, shards))
    _print_row("files", *[_number(each * inputs.shard_files) for each in shards])
    _print_row("searches", *map(_number, asked))
    _print_row("core hours of searches", *map(_number, core_hours))


def _print_choices(changes: Sequence[str]) -> None:
    _print_header("choice", *[f"GPU hours, {engine.name}" for engine in ENGINES])
    for label, preset, left_out, changes_of_choice in CHOICES:
        tools, inputs = with_changes(tools_of(preset), Inputs(), [*changes_of_choice, *changes])
        used = {name: tool for name, tool in tools.items() if name not in left_out}
        _print_row(label, *[_range(gpu_hours(1e6, used, inputs, engine)) for engine in ENGINES])


def _print_needed(tools: Mapping[str, ToolInputs], inputs: Inputs) -> None:
    engines = [f"GPU hours, {engine.name}" for engine in ENGINES]
    _print_header("tool", "texts with calls", "texts to annotate", *engines)
    for name, tool in tools.items():
        needed = needed_texts(tool)
        hours = [gpu_hours(needed, {name: tool}, inputs, engine) for engine in ENGINES]
        _print_row(name, f"{tool.wanted_texts:,.0f}", _number(needed), *map(_range, hours))


def _print_header(*cells: str) -> None:
    print()
    _print_row(*cells)
    print("|" + "---|" * len(cells))


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def _range(fewest_and_most: tuple[float, ...]) -> str:
    return " to ".join(map(_number, fewest_and_most))


def _number(value: float) -> str:
    """Return a number with two significant digits."""
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):,.{max(digits, 0)}f}"


if __name__ == "__main__":
    main()
