"""`toolformer evaluate bfcl`: function calls of a chat model at an address or in a directory."""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from dagster_project.commands import console
from toolformer.base.whole_files import write_whole
from toolformer.errors import ModelNotFoundError, ServedModelError
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError
from toolformer.evaluation.benchmarks.question_records import read_records
from toolformer.evaluation.benchmarks.rows import InvalidRowError
from toolformer.evaluation.function_calls import fault_of, offered_tool
from toolformer.evaluation.intervals import score_interval
from toolformer.exports.chat_model import ChatModel
from toolformer.home.progress import progress_of, waiting_shown
from toolformer.served.chat_client import REFUSED, ChatClient

_LOGGER = logging.getLogger(__name__)
Record = Mapping[str, Any]


def measure_function_calls(
    url: str | None,
    model: str,
    questions: Path,
    answers: Path | None,
    *,
    limit: int | None,
    output: Path | None,
) -> None:
    """Ask a model the questions of a file of BFCL, and say how many of its calls are right.

    Args:
        url: of the server that runs the model; None where its directory is given.
        answers: BFCL's file in `possible_answer`; without one it is right to call nothing.
        output: for JSON lines with the answer to each question and what is wrong with it.

    Raises:
        BenchmarkFileError: a file is not as BFCL has it.
        ServedModelError: the server cannot be asked, or refuses every question.
    """
    asked = dict(islice(_read(questions, _question).items(), limit))
    wanted = _read(answers, _wanted_call) if answers else dict.fromkeys(asked)
    if missing := asked.keys() - wanted.keys():
        raise BenchmarkFileError(
            f"'{answers}' has no answer to {min(missing)} ({len(missing)} are missing). Expected "
            "the file of the same name in BFCL's folder possible_answer."
        )
    with closing(_chat_model(url, model)) as client, console.progress_bars():
        told = client.answers(
            [request for request, _ in asked.values()],
            progress=progress_of("asking", _LOGGER, detail=questions.name),
        )
    rows = []
    for (name, (_, functions)), answer in zip(asked.items(), told, strict=True):
        fault = answer.get(REFUSED) or fault_of(answer["calls"], functions, wanted[name])
        rows.append({"id": name, "fault": fault, **answer})
    if all(REFUSED in row for row in rows):
        raise ServedModelError(f"Every question was {rows[0][REFUSED]}.")
    if output is not None:
        write_whole(output, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    right = [float(not row["fault"]) for row in rows]
    found = score_interval(right, [1.0] * len(right), metric="accuracy", seed=0)
    faults = Counter(row["fault"].partition(":")[0] for row in rows if row["fault"])
    console.say(
        f"{questions.name}: {sum(right):.0f} of {len(right)} right, {found.score:.1%} (95 % "
        f"interval {found.low:.1%} to {found.high:.1%}), where it is right to call "
        f"{'what the answers say' if answers else 'nothing'}. Wrong: "
        + (", ".join(f"{fault} ({number})" for fault, number in faults.most_common()) or "none")
    )


def _chat_model(url: str | None, model: str) -> ChatClient | ChatModel:
    if url is not None:
        key = os.environ.get("OPENAI_API_KEY")
        return ChatClient([url], model, key=key, waiting=waiting_shown)
    if not (directory := Path(model).expanduser()).is_dir():
        raise ModelNotFoundError(
            f"There is no directory {model!r}. Expected a chat model's, or --url, the address of "
            "the server that runs a model of this name."
        )
    return ChatModel(directory)


def _read(path: Path, form: Callable[[Record], Any]) -> dict[str, Any]:
    """What the records of a file hold, by their ids."""
    records = {}
    for number, record in read_records(path):
        try:
            if isinstance(record, InvalidRowError):
                raise record
            records[str(record["id"])] = form(record)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BenchmarkFileError(
                f"Record {number} of '{path}' is none of BFCL's of one turn ({error!r}). Expected "
                "`id` with `question` and `function`, or with a `ground_truth` of one call."
            ) from error
    return records


def _question(record: Record) -> tuple[dict[str, Any], list[Record]]:
    (messages,), functions = record["question"], record["function"]
    return {"messages": messages, "tools": [*map(offered_tool, functions)]}, functions


def _wanted_call(record: Record) -> tuple[str, Record]:
    ((call,),) = (each.items() for each in [*record["ground_truth"]])
    return call
