"""How often answers are right, for several probabilities below which none is given.

Does not ask any question.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolformer.evaluation.scoring import normalised_words, score_qa

_THRESHOLDS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def answer_table(set_name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Accuracy for several least probabilities; what is below is an abstention.

    Args:
        set_name: of the questions.
        rows: of `Measurement.answers`.
    """
    total = len(rows)
    contains = [score_qa(row["answer"], row["accepted"]) for row in rows]
    exact = [
        normalised_words(row["answer"]) in [normalised_words(text) for text in row["accepted"]]
        for row in rows
    ]
    for threshold in _THRESHOLDS:
        given = [
            place
            for place, row in enumerate(rows)
            if row["answer"] and row["probability"] >= threshold
        ]
        right = sum(contains[place] for place in given)
        yield {
            "set": set_name,
            "questions": total,
            "readable %": round(100 * sum(row["is_readable"] for row in rows) / total, 1),
            "least probability": threshold,
            "answered %": round(100 * len(given) / total, 1),
            "right %": round(100 * right / total, 1),
            "exact %": round(100 * sum(exact[place] for place in given) / total, 1),
            "right of answered %": round(100 * right / max(len(given), 1), 1),
            "seconds a question": round(sum(row["seconds"] for row in rows) / total, 2),
            "of all cores": round(sum(row["cpu_seconds"] for row in rows) / total, 2),
        }
