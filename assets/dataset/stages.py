"""Lists the stages that run shard by shard, in the order of the paper (§2).

    documents (stored as the corpus is cut) ─▶ candidate_calls ─▶ executed_calls ─▶ scored_calls
              ─▶ filtered_calls ─▶ augmented_texts

Assets, build plans and commands read the declarations of the stages here.
"""

from assets.dataset.augmentation import AUGMENTED_TEXTS
from assets.dataset.execution import EXECUTED_CALLS
from assets.dataset.filtering import FILTERED_CALLS
from assets.dataset.pipeline import Pipeline
from assets.dataset.sampling import CANDIDATE_CALLS
from assets.dataset.scoring import SCORED_CALLS

PIPELINE = Pipeline(
    [CANDIDATE_CALLS, EXECUTED_CALLS, SCORED_CALLS, FILTERED_CALLS, AUGMENTED_TEXTS]
)
