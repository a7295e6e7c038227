"""What a build would do, and why: each slice's stored fingerprint against the one it would get.

Does not load a model and does not compute anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from assets.inputs import merged_inputs
from dagster_project.fingerprints import (
    FINGERPRINT,
    Fingerprint,
    augmented_texts_fingerprint,
    candidate_calls_fingerprint,
    documents_fingerprint,
    executed_calls_fingerprint,
    filtered_calls_fingerprint,
    scored_calls_fingerprint,
)
from dagster_project.settings.sections import Settings
from dagster_project.wiring.toolbox import Toolbox
from toolformer.sources.manifest import ShardEntry
from warehouse.layout import name_in_round, split_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Where nothing has been measured yet: characters of a token, of a record, tokens of a scored call,
# and tokens a second of a small model on two cores.
_CHARACTERS_PER_TOKEN = 4
_CHARACTERS_PER_RECORD = 3000
_TOKENS_PER_SCORED_CALL = 110
_TOKENS_PER_SAMPLE = 12
_TOKENS_PER_SECOND = 1500.0
_STAGES_WITH_MODEL = {"candidate_calls": "sampling", "scored_calls": "scoring"}


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """One slice that a build would make.

    Attributes:
        shard, table, slice_name: which.
        reason: why: missing, or what changed.
        tokens, seconds: expected cost; 0 for stages without a model.
    """

    shard: str
    table: str
    slice_name: str
    reason: str
    tokens: int = 0
    seconds: float = 0.0


class BuildPlan:
    """Compares what is stored with what the settings ask for.

    Args:
        warehouse: what is stored.
        settings, toolbox: what is asked for.
        model: identity of the annotator.
        force: make also what is up to date.
        characters_per_record: of the texts of a source, by its name, where it is known.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        toolbox: Toolbox,
        *,
        model: str,
        force: bool,
        characters_per_record: Mapping[str, float] | None = None,
    ):
        self._warehouse = warehouse
        self._settings = settings
        self._toolbox = toolbox
        self._model = model
        self._force = force
        self._characters_per_record = characters_per_record or {}
        self._round = settings.sampling.round
        self._rates = _measured_rates(warehouse, self._round)

    def of(
        self, entries: Sequence[ShardEntry], *, texts_of: Sequence[ShardEntry] = ()
    ) -> list[PlannedSlice]:
        """Slices to be made for these shards, in the order of the stages.

        Args:
            entries: shards that are annotated.
            texts_of: shards of which only `documents` is made.
        """
        annotated = [planned for entry in entries for planned in self._of_shard(entry)]
        texts = [self._of_shard(entry, is_annotated=False) for entry in texts_of]
        return [*annotated, *(planned for of_shard in texts for planned in of_shard)]

    def _of_shard(self, entry: ShardEntry, *, is_annotated: bool = True) -> list[PlannedSlice]:
        planned: list[PlannedSlice] = []
        shard = entry.key

        def expect(table: str, slice_name: str, fingerprint: Fingerprint) -> str:
            stored = self._warehouse.slice_metadata(table, shard, slice_name)
            reason = "forced" if self._force else fingerprint.difference(stored)
            if reason is None and stored is not None:
                # What the stages behind it will read.
                return stored[FINGERPRINT]
            tokens, seconds = self._expected_cost(table, split_round(slice_name)[1], entry)
            planned.append(PlannedSlice(shard, table, slice_name, str(reason), tokens, seconds))
            return fingerprint.digest

        documents = expect("documents", ALL, documents_fingerprint(entry))
        if not is_annotated:
            return planned
        decided = self._stored_decisions(shard)
        for name, tool in self._toolbox.tools.items():
            slice_name = name_in_round(self._round, name)
            candidates = expect(
                "candidate_calls",
                slice_name,
                candidate_calls_fingerprint(
                    documents,
                    self._settings,
                    tool,
                    self._toolbox.prompts[name],
                    self._model,
                    source=entry.source,
                ),
            )
            executed = expect(
                "executed_calls",
                slice_name,
                executed_calls_fingerprint(candidates, self._settings, tool),
            )
            scored = expect(
                "scored_calls",
                slice_name,
                scored_calls_fingerprint(executed, self._settings, self._model),
            )
            decided[name] = expect(
                "filtered_calls",
                slice_name,
                filtered_calls_fingerprint(scored, self._settings, name),
            )
        expect(
            "augmented_texts",
            name_in_round(self._round, ALL),
            augmented_texts_fingerprint(decided),
        )
        return planned

    def _stored_decisions(self, shard: str) -> dict[str, str]:
        """Decisions of tools that this build does not touch: they are merged all the same."""
        merged, _ = merged_inputs(
            self._warehouse,
            shard,
            round_number=self._round,
            window_tokens=self._settings.corpus.window_tokens,
            besides=self._toolbox.tools.keys(),
        )
        return {name: slices[0].fingerprint for name, slices in merged.items()}

    def _expected_cost(self, table: str, tool: str, entry: ShardEntry) -> tuple[int, float]:
        stage = _STAGES_WITH_MODEL.get(table)
        if stage is None:
            return 0, 0.0
        of_record = self._characters_per_record.get(entry.source, _CHARACTERS_PER_RECORD)
        characters = int(entry.records * of_record)
        if self._warehouse.slice_metadata("documents", entry.key, ALL) is not None:
            texts = self._warehouse.read_slice("documents", entry.key, ALL)["text"]
            characters = int(texts.str.len_chars().sum())
        measured = self._rates.get((tool, stage))
        if measured is not None:
            tokens_per_character, tokens_per_second = measured
            tokens = int(tokens_per_character * characters)
            return tokens, tokens / tokens_per_second
        text_tokens = characters // _CHARACTERS_PER_TOKEN
        windows = max(1, text_tokens // self._settings.corpus.window_tokens)
        of_tool = self._settings.tools.of(tool)
        samples = windows * of_tool.positions_per_text * of_tool.calls_per_position
        if stage == "sampling":
            tokens = 2 * text_tokens + samples * _TOKENS_PER_SAMPLE
        else:
            tokens = samples * _TOKENS_PER_SCORED_CALL
        return tokens, tokens / _TOKENS_PER_SECOND


def _measured_rates(
    warehouse: Warehouse, round_number: int
) -> Mapping[tuple[str, str], tuple[float, float]]:
    """Tokens per character of text and tokens per second, by tool and stage, from past shards.

    Those of the round where there are any (without the prompt a round feeds far less), else those
    of all others.
    """
    costs = warehouse.ask("tokens_fed", round=round_number)
    characters = warehouse.ask("document_characters")
    joined = (
        costs.join(characters, on="shard")
        .group_by("tool", "stage", "is_of_round")
        .agg(pl.col("tokens_fed", "seconds", "characters").sum())
        # Those of the round come last, and so take the place of the others below.
        .sort("is_of_round")
    )
    return {
        (row["tool"], row["stage"]): (
            row["tokens_fed"] / row["characters"],
            row["tokens_fed"] / row["seconds"],
        )
        for row in joined.iter_rows(named=True)
        if row["characters"] and row["seconds"]
    }
