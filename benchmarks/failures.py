"""Sorts wrong answers to word problems by what went wrong in them.

Draws wrong answers with calls enabled at random, and compares the call of each with the equation
that the benchmark gives for the problem.

    python -m benchmarks.failures --home HOME --model NAME --data DATA [--count 100] [--json FILE]
"""

import argparse
import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gains import MATHS, data_file
from toolformer.evaluation.scoring import NUMBER_TOLERANCE
from toolformer_home.home import Home
from warehouse.query import run_query

_WRONG = """
select benchmark, item_id, prompt, output, arguments, result, gold, is_unused_result
from answers_with_calls
where model = $model and mode = 'enabled' and score = 0 and benchmark in ('asdiv', 'svamp', 'mawps')
order by benchmark, item_id
"""
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+")
# A sign that stands between two operands.
_OPERATOR = re.compile(r"(?<=[\dx)])\s*([-+*/])")


def main() -> None:
    """Draw, sort and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--model", required=True, help="as evaluation_results names it")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the sorted answers there")
    options = parser.parse_args()
    equations = {name: _equations(data_file(options.data, name)) for name in MATHS}
    warehouse = Home(options.home).warehouse
    wrong = run_query(warehouse, _WRONG, {"model": options.model}).to_dicts()
    drawn = random.Random(options.seed).sample(wrong, min(options.count, len(wrong)))
    for row in drawn:
        row["equation"] = equations[row["benchmark"]][row["item_id"]]
        row["failure"] = failure_of(row)
    for failure, count in Counter(row["failure"] for row in drawn).most_common():
        print(f"{failure:30} {count}")
    if options.json is not None:
        options.json.write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")


def failure_of(row: Mapping[str, Any]) -> str:
    """What went wrong in an answer: its call against the equation."""
    (gold,) = map(float, json.loads(row["gold"]))
    known, _, answer = row["equation"].replace(" ", "").partition("=")
    # `27+15=42` holds the answer itself; `8+x=12` holds another number.
    if _NUMBER.fullmatch(answer) and abs(float(answer) - gold) <= NUMBER_TOLERANCE:
        answer = ""
    if len(_OPERATOR.findall(known)) + len(_OPERATOR.findall(answer)) > 1:
        return "more than one step"
    if row["arguments"] is None:
        return "no call"
    if row["is_unused_result"]:
        return "right result not used"
    if _numbers(row["arguments"]) == _numbers(known + answer):
        return "wrong operation"
    return "wrong number"


def _numbers(text: str) -> list[float]:
    return sorted(map(float, _NUMBER.findall(text)))


def _equations(file: Path) -> dict[str, str]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return {row["id"]: row["equation"] or "" for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
