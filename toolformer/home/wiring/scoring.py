"""How calls are scored, as the settings say."""

from toolformer.filtering import Baseline
from toolformer.loss_weights import window_weights
from toolformer.scoring.call_scorer import ScoringParameters
from toolformer.scoring.loss_form import LossForm, Placement
from toolformer.scoring.shard_scoring import LossesWanted
from toolformer.settings.sections import Settings


def scoring_parameters(settings: Settings) -> ScoringParameters:
    """How a call is written and fed, and which tokens count."""
    scoring = settings.scoring
    return ScoringParameters(
        LossForm(
            Placement(scoring.placement),
            window_weights(scoring.window_tokens, are_linear=scoring.window_weights == "linear"),
        ),
        scoring.token_budget,
        scoring.empty_result_keeps_arrow,
    )


def losses_wanted(settings: Settings) -> LossesWanted:
    """Which losses of a call are computed."""
    scoring = settings.scoring
    return LossesWanted(
        lowest_threshold=scoring.lowest_threshold,
        chance_calls=scoring.chance_calls,
        seed=settings.sampling.seed,
        baseline=Baseline(scoring.baseline),
    )
