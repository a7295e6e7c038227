"""The code version that Dagster has of each stage: its version, and the settings of its rows.

So Dagster shows what was made with other settings as out of date, and `annotate_new_shards` makes
it again.
"""

from collections.abc import Sequence

from assets.corpus import CORPUS_MANIFEST
from assets.dataset.stages import PIPELINE
from assets.evaluation.comparisons import EVALUATION_REPORT
from assets.evaluation.stage import EVALUATION_RESULTS
from assets.evaluation.studies import STUDIES
from assets.passage_vectors import PASSAGE_INDEX
from assets.report_page import REPORT
from assets.search_index import WIKIPEDIA_INDEX
from assets.stage import ANY_TOOL, Stage, check_stages, setting_value
from assets.statistics import CALL_STATISTICS
from assets.training.finetuned_model import FINETUNED_MODEL
from assets.training.min_call_probability import MIN_CALL_PROBABILITY
from assets.training.training_inputs import TRAINING_SET
from toolformer_home.fingerprints import Fingerprint
from toolformer_home.settings.sections import Settings

STAGES: tuple[Stage, ...] = (
    *(CORPUS_MANIFEST, WIKIPEDIA_INDEX, PASSAGE_INDEX),
    *PIPELINE,
    *(TRAINING_SET, FINETUNED_MODEL, MIN_CALL_PROBABILITY),
    *(CALL_STATISTICS, EVALUATION_RESULTS, EVALUATION_REPORT, *STUDIES, REPORT),
)
"""All stages, in the order of the pipeline."""
check_stages(STAGES)

# Each round and each variant of the model has outputs of its own.
_OF_OUTPUT = ("sampling.round", "training.variant")


def code_version(stage: Stage, rounds: Sequence[Settings]) -> str:
    """The code version of a stage's asset.

    Args:
        stage: the stage.
        rounds: the settings of each round; none where they cannot be read, and then it is the
            stage's version alone.
    """
    paths = [path for path in stage.all_settings if path not in _OF_OUTPUT]
    if not paths or not rounds:
        return stage.version
    values = {
        f"{number} {path.replace(ANY_TOOL, tool)}": setting_value(settings, path, tool)
        for number, settings in enumerate(rounds, start=1)
        for path in paths
        for tool in (_tools(settings) if ANY_TOOL in path else ("",))
    }
    return f"{stage.version}-{Fingerprint.of(values).digest[:12]}"


def _tools(settings: Settings) -> list[str]:
    return [name for name in settings.tools.names if settings.tools.of(name).is_enabled]
