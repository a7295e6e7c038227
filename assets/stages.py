"""Lists all stages of the project in the order in which they run."""

from assets.corpus import CORPUS_MANIFEST
from assets.dataset.stages import PIPELINE
from assets.evaluation.comparisons import EVALUATION_REPORT
from assets.evaluation.stage import EVALUATION_RESULTS
from assets.passage_vectors import PASSAGE_INDEX
from assets.report_page import REPORT
from assets.search_index import WIKIPEDIA_INDEX
from assets.stage import Stage
from assets.statistics import CALL_STATISTICS
from assets.training.finetuned_model import FINETUNED_MODEL
from assets.training.min_call_probability import MIN_CALL_PROBABILITY
from assets.training.training_inputs import TRAINING_SET

STAGES: tuple[Stage, ...] = (
    *(CORPUS_MANIFEST, WIKIPEDIA_INDEX, PASSAGE_INDEX),
    *PIPELINE,
    *(TRAINING_SET, FINETUNED_MODEL, MIN_CALL_PROBABILITY),
    *(CALL_STATISTICS, EVALUATION_RESULTS, EVALUATION_REPORT, REPORT),
)
