"""Which calls are kept, by every scoring, baseline and contrast, against the literal formulas."""

import itertools
from statistics import mean
from typing import get_args

import pytest

from tests import literal
from tests.toolformer.architectures import windows_of
from tests.toolformer.scoring.test_losses import CALLS, TEXTS, score
from toolformer.filtering import Baseline, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.swapped_results import SwappedResults
from toolformer.settings.annotation_sections import ScoringSettings
from tools.syntax import call_pieces

FORMS = [
    ScoringSettings(),
    ScoringSettings(placement="inline"),
    ScoringSettings(placement="inline", window_tokens=32, window_weights="uniform"),
    ScoringSettings(window_tokens=3, window_weights="uniform"),
]


def middles(values: list[float]) -> list[float]:
    """Thresholds between the values, where the last digits of none of them matter."""
    pairs = itertools.pairwise(sorted(values))
    return [mean(pair) for pair in pairs if pair[1] - pair[0] > 1e-3]


@pytest.mark.parametrize("scoring", FORMS)
def test_the_calls_that_the_formulas_keep_are_kept(llama, tokenizer, tmp_path, scoring):
    windows = {
        (window.document_id, window.index): window for window in windows_of(tokenizer, *TEXTS)
    }
    wanted = [call.call_id for call in CALLS]
    swapped = {key: each.call for key, each in SwappedResults(CALLS, seed=0).of(wanted).items()}
    by_id = {call.call_id: call for call in CALLS}

    def literal_loss(call_id: str, pieces: list[str]) -> float:
        return literal.form_loss(
            llama,
            tokenizer.encode_pieces(pieces),
            list(windows[by_id[call_id].window].ids),
            by_id[call_id].position,
            list(scoring.token_weights),
            is_inline=scoring.placement == "inline",
        )

    without, call_only, own, other = {}, {}, {}, {}
    for call_id, call in by_id.items():
        without[call_id] = literal_loss(call_id, [])
        call_only[call_id] = literal_loss(call_id, call_pieces(call.call, None))
        own[call_id] = literal_loss(call_id, call_pieces(call.call, call.result))
        other[call_id] = literal_loss(call_id, call_pieces(call.call, swapped[call_id].result))
    found_other = scorer_for(
        llama, windows, scoring.model_copy(update={"token_budget": 60})
    ).score_results(
        list(swapped.values()),
        checkpoint=Checkpoint(tmp_path / "swapped", fingerprint="x"),
        progress=lambda *_: None,
    )
    decisions = set()
    for baseline in get_args(Baseline):
        is_minimum = baseline == "minimum"
        better_than = {
            call_id: min(loss, call_only[call_id]) if is_minimum else loss
            for call_id, loss in without.items()
        }
        for tau_f in middles([better_than[call_id] - own[call_id] for call_id in by_id])[::3]:
            scored = score(
                llama,
                list(windows.values()),
                tmp_path / f"{baseline}-{tau_f}",
                full_losses=False,
                lowest_threshold=tau_f,
                scoring=scoring,
                baseline=baseline,
            )
            for tau_c in (None, *middles([other[call_id] - own[call_id] for call_id in by_id])):
                for call_id in by_id:
                    is_kept = better_than[call_id] - own[call_id] >= tau_f and (
                        tau_c is None or other[call_id] - own[call_id] >= tau_c
                    )
                    losses = scored[call_id]
                    reaches = decide(losses, filtering_threshold=tau_f, baseline=baseline).is_kept
                    found = reaches and (
                        tau_c is None or found_other[call_id] - losses.loss_with_result >= tau_c
                    )
                    assert found == is_kept
                    decisions.add((reaches, found))
    assert decisions == {(True, True), (True, False), (False, False)}
