"""What each slice was computed from, as a digest: the same fingerprint means nothing to do.

A fingerprint names its parts, so that a stale slice can say which of them changed. Of the precision
it names the setting: what `auto` was measured to be makes nothing stale. Does not read slices or
load models.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dagster_project.settings.sections import Settings
from toolformer.evaluation.modes import Mode
from toolformer.ground.digests import hex_digest
from toolformer.sources.manifest import ShardEntry
from tools.protocol import Tool

# Bumped when a stage's rows change their meaning; also the `code_version` of its asset.
CODE_VERSIONS = {
    "corpus_manifest": "1",
    "wikipedia_index": "3",
    "passage_index": "3",
    "documents": "1",
    "candidate_calls": "3",
    "executed_calls": "4",
    "scored_calls": "1",
    "filtered_calls": "4",
    "augmented_texts": "2",
    "training_set": "3",
    "finetuned_model": "1",
    "call_threshold": "4",
    "evaluation_results": "2",
    "evaluation_report": "1",
    "report": "1",
    "call_top_k_study": "1",
    "tool_study": "1",
    "model_size_study": "1",
    "call_statistics": "1",
}

FINGERPRINT = "fingerprint"
PARTS = "parts"
# Of the section `scoring`: what changes the gain of a call that stands in the text.
_OF_GAINS = {"window_tokens", "window_weights", "token_budget"}
# Of the section `execution`: what a result depends on while decoding.
_LIMITS_OF_LIVE_CALLS = {"deadline_seconds", "max_result_tokens"}

# Of the section `training`: what the fingerprint of the training set says.
_OF_TRAINING_SET = {"max_texts_per_tool", "rounds", "plain_share", "near_duplicate_similarity"}
# Of the same: what changes how the model is trained, not which.
_WITHOUT_EFFECT_ON_MODEL = {
    *("save_every", "least_texts", "gradient_checkpointing", "processes", "parallelism"),
}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A digest and the named parts it was made of.

    Attributes:
        parts: by name, as JSON.
    """

    parts: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hexadecimal, 32 characters."""
        canonical = json.dumps(dict(self.parts), sort_keys=True)
        return hex_digest(canonical)

    def metadata(self) -> dict[str, str]:
        """What is stored with a slice."""
        return {FINGERPRINT: self.digest, PARTS: json.dumps(dict(self.parts), sort_keys=True)}

    def with_part(self, name: str, part: object) -> "Fingerprint":
        """The same with one part more."""
        return Fingerprint({**self.parts, name: json.dumps(part)})

    def difference(self, stored: Mapping[str, str] | None) -> str | None:
        """Why a slice with the stored metadata is out of date; None when it is not."""
        if stored is None:
            return "missing"
        if stored.get(FINGERPRINT) == self.digest:
            return None
        old = json.loads(stored.get(PARTS, "{}"))
        changed = sorted(
            name for name in {*old, *self.parts} if old.get(name) != self.parts.get(name)
        )
        return f"changed: {', '.join(name.replace('_', ' ') for name in changed)}"


def fingerprint(table: str, **parts: object) -> Fingerprint:
    """The fingerprint of a slice of `table`, its code version included."""
    named = {name: json.dumps(part, sort_keys=True, default=str) for name, part in parts.items()}
    return Fingerprint({"code_version": CODE_VERSIONS[table], **named})


def prompt_digest(prompt: str) -> str:
    """What the fingerprint of samples names in place of their few-shot prompt."""
    return hex_digest(prompt)


def documents_fingerprint(entry: ShardEntry) -> Fingerprint:
    """Of the texts of a shard."""
    return fingerprint("documents", raw_slice=entry.digest)


def candidate_calls_fingerprint(
    upstream: str,
    settings: Settings,
    tool: Tool,
    prompt: str | None,
    model: str,
    *,
    source: str,
) -> Fingerprint:
    """Of the samples of one tool.

    Args:
        upstream: fingerprint of the documents.
        settings: of the run.
        tool: what its version says of preselection and parsing counts; an index, which only
            changes answers, does not.
        prompt: the few-shot prompt; None where it is left out.
        model: identity of the annotating model, whatever the settings call it.
        source: that the shard was cut from.
    """
    if not settings.corpus.is_annotated(source, tool.name):
        return fingerprint("candidate_calls", documents=upstream, tools="of other sources")
    tool_settings = settings.tools.of(tool.name)
    proposals = None
    if settings.sampling.proposals != "none" and tool.makes_proposals:
        proposals = [
            settings.sampling.proposals,
            getattr(tool, "proposals_version", tool.version),
        ]
    return fingerprint(
        "candidate_calls",
        documents=upstream,
        language_model=[model, settings.language_model.bos_token],
        precision=settings.language_model.precision,
        prompt=prompt and prompt_digest(prompt),
        sampling_threshold=tool_settings.sampling_threshold,
        positions_per_text=tool_settings.positions_per_text,
        calls_per_position=tool_settings.calls_per_position,
        window_tokens=settings.corpus.window_tokens,
        max_windows_per_text=settings.corpus.max_windows_per_text,
        # Which annotator and whether a prompt: the model's identity and the prompt say so above.
        # How many shards there are concerns none of them.
        sampling=settings.sampling.model_dump(
            exclude={"annotator", "uses_prompt", "proposals", "shards"}
        ),
        proposals=proposals,
        tool_version=getattr(tool, "sampling_version", tool.version),
        token_budget=settings.scoring.token_budget,
    )


def executed_calls_fingerprint(upstream: str, settings: Settings, tool: Tool) -> Fingerprint:
    """Of the results of one tool's candidate calls."""
    return fingerprint(
        "executed_calls",
        candidate_calls=upstream,
        tool_version=tool.version,
        execution=execution_settings(settings),
    )


def execution_settings(settings: Settings) -> dict[str, object]:
    """The section `execution` without what changes no result, such as how often a call is made."""
    return settings.execution.model_dump(
        exclude={"attempts", "uses_cache", "worker_memory_gib", "replay"}
    )


def scored_calls_fingerprint(upstream: str, settings: Settings, model: str) -> Fingerprint:
    """Of the losses of one tool's calls, whatever threshold decides on them.

    Args:
        upstream: fingerprint of the executed calls.
        settings: of the run.
        model: identity of the annotating model: the one that sampled the calls scores them too.
    """
    # A model in float32 has no second look.
    unused = {"rescoring"} if settings.language_model.precision == "float32" else set()
    return fingerprint(
        "scored_calls",
        executed_calls=upstream,
        language_model=[model, settings.language_model.bos_token],
        precision=settings.language_model.precision,
        scoring=settings.scoring.model_dump(exclude=unused),
        window_tokens=settings.corpus.window_tokens,
        seed=settings.sampling.seed,
    )


def filtered_calls_fingerprint(upstream: str, settings: Settings, tool_name: str) -> Fingerprint:
    """Of the decisions on one tool's scored calls."""
    tool_settings = settings.tools.of(tool_name)
    return fingerprint(
        "filtered_calls",
        scored_calls=upstream,
        filtering_threshold=tool_settings.filtering_threshold,
        contrast_threshold=tool_settings.contrast_threshold,
    )


def augmented_texts_fingerprint(upstream: Mapping[str, str]) -> Fingerprint:
    """Of a shard of C*: the decisions of every tool that is there."""
    return fingerprint("augmented_texts", **{f"calls_of_{name}": d for name, d in upstream.items()})


def training_set_fingerprint(
    upstream: Mapping[str, str],
    held_out: Mapping[str, str],
    settings: Settings,
    *,
    benchmarks: Mapping[str, object],
    documents: Mapping[str, str],
    tokenizer: str | None,
) -> Fingerprint:
    """Of the training set: all shards of C*, and what they must not share text with.

    Args:
        upstream: named by shard, with `round-<n>.` in front from round 2 on; so are the rounds.
            The calls that the filter dropped are those that it was made from.
        held_out: documents that are never trained on.
        settings: of the run.
        benchmarks: what the texts of each depend on.
        documents: that plain windows are drawn from.
        tokenizer: identity of the model whose tokenizer cuts these windows; None without them.
    """
    training = settings.training
    of_plain_windows = {
        "plain_share": training.plain_share,
        "documents": dict(documents),
        "tokenizer": tokenizer,
        "window_tokens": settings.corpus.window_tokens,
        "max_windows_per_text": settings.corpus.max_windows_per_text,
    }
    return fingerprint(
        "training_set",
        augmented_texts=dict(upstream),
        held_out_documents=dict(held_out),
        max_texts_per_tool=training.max_texts_per_tool,
        near_duplicate_similarity=training.near_duplicate_similarity,
        development_share=training.development_share,
        seed=training.seed,
        benchmarks=dict(benchmarks),
        **(of_plain_windows if training.plain_share else {}),
    )


def finetuned_model_fingerprint(upstream: str, settings: Settings, model: str) -> Fingerprint:
    """Of the finetuned model."""
    training = settings.training.model_dump(exclude=_OF_TRAINING_SET | _WITHOUT_EFFECT_ON_MODEL)
    return fingerprint(
        "finetuned_model",
        training_set=upstream,
        language_model=[model, settings.language_model.bos_token],
        training=training,
        window_tokens=settings.corpus.window_tokens,
    )


def call_threshold_fingerprint(
    training_set: Sequence[str],
    settings: Settings,
    model: str,
    *,
    documents: Mapping[str, str],
    tool_versions: Mapping[str, str],
) -> Fingerprint:
    """Of the least probability with which a finetuned model opens calls; found in float32.

    Args:
        training_set: fingerprints of its texts and of what was left out of it.
        settings: of the run.
        model: identity of the finetuned model.
        documents: that the texts are windows of.
        tool_versions: by name, of the tools that may be called.
    """
    training, corpus = settings.training, settings.corpus
    return fingerprint(
        "call_threshold",
        training_set=list(training_set),
        documents=dict(documents),
        language_model=[model, settings.language_model.bos_token],
        tool_versions=dict(tool_versions),
        decoding=settings.decoding.model_dump(include={"call_top_k", "max_call_tokens"}),
        execution=execution_settings(settings),
        scoring=settings.scoring.model_dump(include=_OF_GAINS),
        window_tokens=corpus.window_tokens,
        max_windows_per_text=corpus.max_windows_per_text,
        # As long may a text be with its context.
        max_tokens=training.max_tokens,
        development_share=training.development_share,
        seed=training.seed,
    )


def questions_fingerprint(
    questions: str,
    items: int,
    mode: Mode,
    settings: Settings,
    model: str,
    *,
    blocked_tools: Sequence[str],
    tool_versions: Mapping[str, str],
) -> Fingerprint:
    """Of a model's answers to some questions in one mode.

    Args:
        questions: digest of the items and of how they are asked and scored.
        items: how many they are.
        mode: how the model is used; without calls nothing of tools and calls counts.
        settings: of the run.
        model: identity of the model.
        blocked_tools: those that the benchmark blocks.
        tool_versions: by name, of the tools that may be called.
    """
    chosen = settings.evaluation
    # In every mode an item is left out where no call would have room.
    room = {
        **settings.decoding.model_dump(include={"max_calls", "max_call_tokens"}),
        **settings.execution.model_dump(include={"max_result_tokens"}),
    }
    of_calls = {
        "blocked_tools": list(blocked_tools),
        "tool_versions": dict(tool_versions),
        "call_top_k": mode.call_top_k,
        "without_tool": mode.without_tool,
        # How long an answer may be, the benchmark says; k and the least probability, the mode.
        "decoding": settings.decoding.model_dump(
            exclude={"max_new_tokens", "call_top_k", "least_call_probability"}
        ),
        "execution": settings.execution.model_dump(include=_LIMITS_OF_LIVE_CALLS),
        "today": chosen.today,
    }
    # At 0 as if there were none, which is what earlier releases had.
    if mode.least_call_probability:
        of_calls["least_call_probability"] = mode.least_call_probability
    return fingerprint(
        "evaluation_results",
        questions=questions,
        items=items,
        language_model=[model, settings.language_model.bos_token],
        precision=settings.language_model.precision,
        batch_size=chosen.batch_size,
        room_for_calls=room,
        **({} if mode.is_disabled else of_calls),
    )


def losses_of_texts_fingerprint(
    settings: Settings,
    model: str,
    *,
    held_out_documents: Mapping[str, str],
    file: str | None,
) -> Fingerprint:
    """Of a model's losses of the held-out texts, or of a text file; always in float32.

    Args:
        settings: of the run.
        model: identity of the model.
        held_out_documents: fingerprints of the held-out shards.
        file: digest of the text file; None for the held-out texts.
    """
    return fingerprint(
        "evaluation_results",
        language_model=[model, settings.language_model.bos_token],
        held_out_documents=dict(held_out_documents),
        window_tokens=settings.corpus.window_tokens,
        evaluation=settings.evaluation.model_dump(include={"perplexity_windows", "seed"}),
        token_budget=settings.scoring.token_budget,
        file=file,
    )
