"""Dagster partitions: shards, variants of the finetuned model, and benchmark × model.

A partition is registered only when it is needed (a control model when it is requested, for
example), because the UI shows a partition that was never materialised as outstanding work. For the
same reason held-out shards, which are not annotated, are only in `SHARDS_OF_TEXTS`.
"""

from pathlib import Path
from secrets import token_hex

import dagster as dg
from sqlalchemy.exc import IntegrityError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from toolformer.base.atomic_files import write_atomically
from toolformer.home.home import Home, home_folder
from toolformer.settings.evaluation_sections import BASE, FINETUNED, EvaluationSettings
from toolformer.settings.training_sections import CALLS
from toolformer.sources.manifest import Manifest

_ID = "home-id"
# Partition keys: "<id> <path>" of each home that uses the Dagster instance.
_HOMES = dg.DynamicPartitionsDefinition(name="toolformer_homes")


def _home() -> Home:
    # `Home.find` may raise, but Dagster reads partition names while this module is imported.
    return Home(home_folder())


def _id_and_path(home: Home) -> tuple[str, str]:
    """Return the id of a home and the path recorded with it; two empty strings without an id."""
    try:
        known, _, path = (home.root / _ID).read_text(errors="replace").partition(" ")
    except OSError:
        return "", ""
    return known, path


class PartitionsOfHome(dg.DynamicPartitionsDefinition):
    """Dynamic partitions of one home; several homes may share a Dagster instance."""

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"toolformer_{_id_and_path(_home())[0]}_{super().name}"


# The finetuned model and its controls.
MODEL_VARIANTS = PartitionsOfHome(name="variant")
# Shards that are annotated, and all shards that have texts.
SHARDS = PartitionsOfHome(name="shard")
SHARDS_OF_TEXTS = PartitionsOfHome(name="shard_of_texts")
BENCHMARK, MODEL = "benchmark", "model"
BENCHMARKS, MODELS = PartitionsOfHome(name=BENCHMARK), PartitionsOfHome(name=MODEL)
EVALUATIONS = dg.MultiPartitionsDefinition({BENCHMARK: BENCHMARKS, MODEL: MODELS})
EVALUATIONS_PER_RUN = 32
# SQLite allows 32,766 values per statement; before version 3.32, it allowed only 999.
_KEYS_AT_ONCE = 900


def claim_id(home: Home) -> None:
    """Give the home a new id if it has none or is a copy; a moved or remounted home keeps its."""
    if _id_and_path(home)[1] == str(home.root):
        return
    with home.output_lock(_ID):
        known, path = _id_and_path(home)
        if not known or _is_copy(home, known, Path(path)):
            known = token_hex(4)
        write_atomically(home.root / _ID, f"{known} {home.root}")


def _is_copy(home: Home, known: str, path: Path) -> bool:
    """Return whether the recorded path is another folder with the same id."""
    has_same_id = _id_and_path(Home(path))[0] == known
    return has_same_id and not path.samefile(home.root)


def other_homes(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Record a home in an instance; return the paths of the other homes recorded there."""
    own, path = _id_and_path(home)
    register(instance, _HOMES, [f"{own} {path}"])
    recorded = instance.get_dynamic_partitions(str(_HOMES.name))
    homes = dict(key.split(" ", 1) for key in recorded)
    return sorted(path for known, path in homes.items() if known != own)


def register_shards(instance: dg.DagsterInstance, manifest: Manifest) -> None:
    """Register the active shards as partitions, and delete the partitions of other shards."""
    claim_id(_home())
    for definition, keys in _shard_partitions(manifest):
        for key in sorted(set(instance.get_dynamic_partitions(definition.name)).difference(keys)):
            instance.delete_dynamic_partition(definition.name, key)
        register(instance, definition, keys)


def are_shards_registered(instance: dg.DagsterInstance, manifest: Manifest) -> bool:
    return all(
        set(instance.get_dynamic_partitions(definition.name)) == set(keys)
        for definition, keys in _shard_partitions(manifest)
    )


def _shard_partitions(manifest: Manifest) -> list[tuple[PartitionsOfHome, list[str]]]:
    return [
        (SHARDS, [entry.key for entry in manifest.annotated_shards]),
        (SHARDS_OF_TEXTS, [entry.key for entry in manifest.active_shards]),
    ]


def register_evaluations(instance: dg.DagsterInstance, settings: EvaluationSettings) -> None:
    """Register the benchmarks and models of the settings; never deletes a partition."""
    register(instance, MODEL_VARIANTS, [CALLS])
    register(instance, BENCHMARKS, list(settings.available_benchmarks))
    register(instance, MODELS, [BASE, FINETUNED, *settings.models])


def evaluation_key(benchmark: str, model: str) -> str:
    """Return the key of a partition of `EVALUATIONS`, such as `svamp|base`.

    Example:
        >>> evaluation_key("svamp", "base")
        'svamp|base'
    """
    return str(dg.MultiPartitionKey({BENCHMARK: benchmark, MODEL: model}))


def benchmark_and_model(key: str) -> tuple[str, str]:
    """Return benchmark and model of a partition of `EVALUATIONS`; raise TypeError for others."""
    if not isinstance(key, dg.MultiPartitionKey):
        raise TypeError(f"The partition key {key!r} is invalid. Expected a key of `EVALUATIONS`.")
    dimensions = key.keys_by_dimension
    return dimensions[BENCHMARK], dimensions[MODEL]


@retry(retry=retry_if_exception_type(IntegrityError), stop=stop_after_attempt(10), reraise=True)
def register(
    instance: dg.DagsterInstance, of: dg.DynamicPartitionsDefinition, keys: list[str]
) -> None:
    """Register the keys that are not registered yet."""
    claim_id(_home())
    name = str(of.name)
    registered = set(instance.get_dynamic_partitions(name))
    missing = [key for key in keys if key not in registered]
    # Dagster checks all keys of a call in one statement.
    for first in range(0, len(missing), _KEYS_AT_ONCE):
        # If another process registers a key between Dagster's check and its write, `retry` repeats.
        instance.add_dynamic_partitions(name, missing[first : first + _KEYS_AT_ONCE])
