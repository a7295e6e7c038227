"""The partitions: shards, variants of the finetuned model, and benchmarks by models.

Shards are registered when the corpus is cut, benchmarks where their questions are there, and the
controls and what is measured with them once they are wanted: a partition that nobody wants would
look like work that is left. So would one of a held-out shard, of which there are texts alone, in a
stage that annotates.
"""

import dagster as dg
from sqlalchemy.exc import IntegrityError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from toolformer.home.settings.evaluation_sections import BASE, FINETUNED, EvaluationSettings
from toolformer.sources.manifest import Manifest
from toolformer.training.variants import CALLS

# The finetuned model and its controls.
VARIANT = "variant"
MODEL_VARIANTS = dg.DynamicPartitionsDefinition(name=VARIANT)
# Of the stages that annotate, and of the texts.
SHARD, SHARD_OF_TEXTS = "shard", "shard_of_texts"
SHARDS = dg.DynamicPartitionsDefinition(name=SHARD)
SHARDS_OF_TEXTS = dg.DynamicPartitionsDefinition(name=SHARD_OF_TEXTS)
BENCHMARK, MODEL = "benchmark", "model"
EVALUATIONS = dg.MultiPartitionsDefinition(
    {
        BENCHMARK: dg.DynamicPartitionsDefinition(name=BENCHMARK),
        MODEL: dg.DynamicPartitionsDefinition(name=MODEL),
    }
)
EVALUATIONS_PER_RUN = 32
# SQLite takes 32,766 values in a statement, older ones 999.
_KEYS_AT_ONCE = 900


def register_shards(instance: dg.DagsterInstance, manifest: Manifest) -> None:
    """Make the registered partitions those of the active shards."""
    for name, keys in _shard_partitions(manifest).items():
        for key in sorted(set(instance.get_dynamic_partitions(name)).difference(keys)):
            instance.delete_dynamic_partition(name, key)
        register(instance, name, keys)


def are_shards_registered(instance: dg.DagsterInstance, manifest: Manifest) -> bool:
    """Whether `register_shards` would do nothing."""
    return all(
        set(instance.get_dynamic_partitions(name)) == set(keys)
        for name, keys in _shard_partitions(manifest).items()
    )


def _shard_partitions(manifest: Manifest) -> dict[str, list[str]]:
    return {
        SHARD: [entry.key for entry in manifest.annotated_shards],
        SHARD_OF_TEXTS: [entry.key for entry in manifest.active_shards],
    }


def register_evaluations(instance: dg.DagsterInstance, settings: EvaluationSettings) -> None:
    """Register what the settings give to train and to measure; what is registered stays."""
    register(instance, VARIANT, [CALLS])
    register(instance, BENCHMARK, list(settings.available_benchmarks))
    register(instance, MODEL, [BASE, FINETUNED, *settings.models])


def evaluation_key(benchmark: str, model: str) -> str:
    """The partition of a benchmark with a model.

    Example:
        >>> evaluation_key("svamp", "base")
        'svamp|base'
    """
    return str(dg.MultiPartitionKey({BENCHMARK: benchmark, MODEL: model}))


def benchmark_and_model(key: str) -> tuple[str, str]:
    """What a partition is of.

    Raises:
        TypeError: it is not one of `EVALUATIONS`.
    """
    if not isinstance(key, dg.MultiPartitionKey):
        raise TypeError(f"{key!r} is no partition of benchmarks and models. Expected one of these.")
    dimensions = key.keys_by_dimension
    return dimensions[BENCHMARK], dimensions[MODEL]


@retry(retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(10), reraise=True)
def register(instance: dg.DagsterInstance, name: str, keys: list[str]) -> None:
    """Register partitions, such as of `VARIANT`, that are not yet."""
    registered = set(instance.get_dynamic_partitions(name))
    missing = [key for key in keys if key not in registered]
    # Dagster looks again for all of them in one statement.
    for first in range(0, len(missing), _KEYS_AT_ONCE):
        # Another process may register the same between look and write.
        instance.add_dynamic_partitions(name, missing[first : first + _KEYS_AT_ONCE])
