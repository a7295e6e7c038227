"""The partitions: shards, variants of the finetuned model, and benchmarks by models.

Shards are registered when the corpus is cut, benchmarks where their questions are there, and the
controls and what is measured with them once they are wanted: a partition that nobody wants would
look like work that is left. So would one of a held-out shard, of which there are texts alone, in a
stage that annotates.
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
# Keys: id and path of each home that has cut its corpus in an instance.
_HOMES = dg.DynamicPartitionsDefinition(name="toolformer_homes")


def _home() -> Home:
    # Dagster asks for names while this module is imported, where `Home.find` may not raise.
    return Home(home_folder())


def _id_and_path(home: Home) -> tuple[str, str]:
    """Return the id of a home and the path recorded with the id; empty if there is none."""
    try:
        known, _, path = (home.root / _ID).read_text(errors="replace").partition(" ")
    except OSError:
        return "", ""
    return known, path


class PartitionsOfHome(dg.DynamicPartitionsDefinition):
    """Dynamic partitions whose name contains the id of the home: an instance has one namespace."""

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name in the instance; see `claim_id`."""
        return f"toolformer_{_id_and_path(_home())[0]}_{super().name}"


# The finetuned model and its controls.
MODEL_VARIANTS = PartitionsOfHome(name="variant")
# Of the stages that annotate, and of the texts.
SHARDS = PartitionsOfHome(name="shard")
SHARDS_OF_TEXTS = PartitionsOfHome(name="shard_of_texts")
BENCHMARK, MODEL = "benchmark", "model"
BENCHMARKS, MODELS = PartitionsOfHome(name=BENCHMARK), PartitionsOfHome(name=MODEL)
EVALUATIONS = dg.MultiPartitionsDefinition({BENCHMARK: BENCHMARKS, MODEL: MODELS})
EVALUATIONS_PER_RUN = 32
# SQLite takes 32,766 values in a statement, older ones 999.
_KEYS_AT_ONCE = 900


def claim_id(home: Home) -> None:
    """Give a home an id if it has none, or if it is a copy of a home that is still there.

    The id is stored with the path of the home, so a moved home and one that machines mount at
    different paths keep theirs.
    """
    if _id_and_path(home)[1] == str(home.root):
        return
    with home.output_lock(_ID):
        known, path = _id_and_path(home)
        if not known or _is_copy(home, known, Path(path)):
            known = token_hex(4)
        write_atomically(home.root / _ID, f"{known} {home.root}")


def _is_copy(home: Home, known: str, path: Path) -> bool:
    """Return whether the path recorded with the id is another folder that has the same id."""
    there = _id_and_path(Home(path))[0] == known
    return there and not path.samefile(home.root)


def other_homes(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Record a home in an instance; return the paths of the others that are recorded there."""
    own, path = _id_and_path(home)
    register(instance, _HOMES, [f"{own} {path}"])
    recorded = instance.get_dynamic_partitions(str(_HOMES.name))
    homes = dict(key.split(" ", 1) for key in recorded)
    return sorted(path for known, path in homes.items() if known != own)


def register_shards(instance: dg.DagsterInstance, manifest: Manifest) -> None:
    """Make the home's registered partitions those of the active shards."""
    claim_id(_home())
    for definition, keys in _shard_partitions(manifest):
        for key in sorted(set(instance.get_dynamic_partitions(definition.name)).difference(keys)):
            instance.delete_dynamic_partition(definition.name, key)
        register(instance, definition, keys)


def are_shards_registered(instance: dg.DagsterInstance, manifest: Manifest) -> bool:
    """Whether `register_shards` would do nothing."""
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
    """Register what the settings give to train and to measure; what is registered stays."""
    register(instance, MODEL_VARIANTS, [CALLS])
    register(instance, BENCHMARKS, list(settings.available_benchmarks))
    register(instance, MODELS, [BASE, FINETUNED, *settings.models])


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
def register(
    instance: dg.DagsterInstance, of: dg.DynamicPartitionsDefinition, keys: list[str]
) -> None:
    """Register partitions, such as of `MODEL_VARIANTS`, that are not yet."""
    claim_id(_home())
    name = str(of.name)
    registered = set(instance.get_dynamic_partitions(name))
    missing = [key for key in keys if key not in registered]
    # Dagster looks again for all of them in one statement.
    for first in range(0, len(missing), _KEYS_AT_ONCE):
        # Another process may register the same between look and write.
        instance.add_dynamic_partitions(name, missing[first : first + _KEYS_AT_ONCE])
