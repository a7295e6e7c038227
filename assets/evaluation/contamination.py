"""Checks whether the benchmarks of a finetuned model were kept out of its training."""

import json
from collections.abc import Iterable, Mapping

from assets.inputs import fingerprints_of, partition_inputs
from assets.training.benchmark_texts import texts_of_benchmark
from assets.training.finetuned_model import stored_model
from assets.training.training_inputs import training_and_held_out_shards
from toolformer.home.fingerprints import FINGERPRINT, PARTS, Fingerprint
from toolformer.home.wiring.models import EvaluatedModel
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.evaluation_sections import PERPLEXITY
from warehouse.schema import ALL


def contamination_warning(
    work: Workspace, model: EvaluatedModel, benchmarks: Iterable[str]
) -> str | None:
    """Return a warning if a model of this home may have been trained on texts of its benchmarks.

    Its training set excluded the benchmarks and held-out shards of that time. They may be different
    now. Raises ToolformerError if a file of a benchmark is missing.
    """
    trained = stored_model(work, model.directory) if model.is_finetuned else None
    if trained is None:
        return None
    kept_out = _kept_out(work, json.loads(json.loads(trained[PARTS])["training_set"]))
    if kept_out is None:
        return (
            f"{model.name} may have been trained on texts of its benchmarks: its training set was "
            "replaced, so this cannot be checked."
        )
    doubtful = [name for name in benchmarks if kept_out.get(name) != _now(work, name)]
    if not doubtful:
        return None
    return (
        f"{model.name} may have been trained on texts of {', '.join(doubtful)}: these benchmarks "
        "were added or changed after its training set was made. Run `toolformer train`, then "
        "`toolformer evaluate` again."
    )


def _kept_out(work: Workspace, training_set: str) -> Mapping[str, object] | None:
    """Return the identities of the texts that a training set excludes, by benchmark."""
    stored = work.warehouse.partition_metadata("training_texts", ALL, ALL)
    if stored is None or stored[FINGERPRINT] != training_set:
        return None
    parts = json.loads(stored[PARTS])
    held_out = json.loads(parts["held_out_documents"])
    return {**json.loads(parts["benchmarks"]), PERPLEXITY: held_out}


def _now(work: Workspace, name: str) -> object:
    if name == PERPLEXITY:
        _, held_out = training_and_held_out_shards(work.home)
        return fingerprints_of(partition_inputs(work.warehouse, "documents", held_out))
    identity = texts_of_benchmark(name, work.settings).identity
    # Return the identity in the form in which fingerprints store it, so that the two compare equal.
    return json.loads(Fingerprint.of({name: identity}).parts[name])
