"""How often answers are right, for several probabilities below which none is given.

Does not ask any question.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolformer.evaluation.scoring import normalised_words, score_qa

_THRESHOLDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


def answer_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Numbers of right answers for several minimum probabilities; what is below is an abstention.

    Args:
        rows: of `Measurement.answers`.
    """
    for threshold in _THRESHOLDS:
        given = [row for row in rows if row["answer"] and row["probability"] >= threshold]
        yield {
            "readable": len(rows),
            "minimum probability": threshold,
            "right": sum(score_qa(row["answer"], row["accepted"]) for row in given),
            "exact": sum(
                normalised_words(row["answer"])
                in [normalised_words(accepted) for accepted in row["accepted"]]
                for row in given
            ),
            "processor seconds a readable question": round(
                sum(row["seconds"] for row in rows) / max(len(rows), 1), 2
            ),
        }
