"""Measures the demo's model on sentence forms that neither its training nor its evaluation uses.

Each form is used with ten pairs of numbers or ten people, and each question with two. A completion
is right if the first number or the first five words after the prompt contain the answer. Its call
is right if a call before the answer has the expected arguments.

    python -m benchmarks.varied_sentences --homes HOME [HOME ...] [--json FILE]

Each home has a finetuned model, for example from `toolformer recipe demo` with another seed.
"""

import argparse
import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MULTIPLIED = (
    "A box has {a} eggs, so {b} boxes have {a} * {b} =",
    "A box has {a} eggs, so {b} boxes have {b} * {a} =",
    "A theatre with {a} rows and {b} chairs in each seats {a} * {b} =",
    "{a} times {b} is written {a} * {b} =",
    "At {b} crowns a kilo, {a} kilos of plums cost {a} * {b} =",
    "My grandmother knitted {a} stitches a row and {b} rows a day: {a} * {b} =",
    "There were {a} guests, and everyone threw {b} grains of rice; that makes {b} * {a} =",
    "The stack is {a} sheets high and {b} sheets wide, so it has {a} * {b} =",
    "She ran {a} metres every morning for {b} mornings and so covered {a} * {b} =",
    "{b} drawers with {a} screws apiece hold {b} * {a} =",
    "We sent {a} parcels with a weight of {b} grams, so all of them weigh {a} * {b} =",
    "The bill shows {a} nights for {b} euros each. Together: {a} * {b} =",
    "The answer to the riddle about {a} cats with {b} kittens each is {a} * {b} =",
    "Pedals that turn {a} times a minute have turned after {b} minutes {a} * {b} =",
    "Each of our {b} vans makes {a} deliveries a month, which are {b} * {a} =",
)
ADDED = (
    "He had {a} marbles, won {b} more and now keeps {a} + {b} =",
    "In the first week came {a} visitors, in the second {b}. Added up: {a} + {b} =",
)
SUBTRACTED = (
    "From a cable of {s} centimetres the sailor cut {a}, so what is left measures {s} - {a} =",
    "Of {s} crowns in the till {a} were spent on paint, and the rest is {s} - {a} =",
)
DIVIDED = ("Fairly divided, {p} sweets for {a} children are {p} / {a} =",)
PAIRS = (
    (36, 45), (12, 17), (28, 14), (7, 64), (125, 8),
    (93, 27), (54, 319), (16, 240), (41, 73), (608, 35),
)  # fmt: skip
FACTS = {
    "place of birth": (
        "{name} was born in the town of",
        "The town where {name} was born is called",
        "{name}, a native of",
        "The cradle of {name} stood in",
    ),
    "profession": (
        "{name} makes a living as a",
        "For thirty years {name} has been employed as a",
        "The business card of {name} says: a",
    ),
    "instrument": (
        "{name} practises every evening on the",
        "On stage {name} is always seen with the",
        "The instrument that {name} plays is the",
    ),
}
# These people are in the table, but in no text.
PEOPLE = (
    "Balthasar Quist", "Corinna Stadler", "Dietmar Holloway", "Evadne Prior", "Fenella Marsh",
    "Gustav Oleander", "Hedwig Tarleton", "Isidore Blackmoor", "Josefa Lindqvist", "Konrad Vale",
)  # fmt: skip
QUESTIONS_OF_SUMS = (
    "Can you tell me what {a} times {b} is?",
    "How many is {a} times {b}?",
    "Calculate {a} * {b}.",
    "A tray holds {a} buns. How many buns do {b} trays hold?",
    "I buy {a} pens for {b} cents each. How much do I pay?",
)
QUESTIONS_OF_FACTS = {
    "place of birth": ("What is the home town of {name}?", "Tell me where {name} was born."),
    "profession": ("What is the job of {name}?", "How does {name} make a living?"),
    "instrument": ("What instrument can {name} play?",),
}


@dataclass(frozen=True, slots=True)
class Item:
    kind: str
    form: str
    prompt: str
    arguments: str
    answer: str


def items() -> list[Item]:
    made: list[Item] = []
    for forms, sign in ((MULTIPLIED, "*"), (ADDED, "+"), (SUBTRACTED, "-"), (DIVIDED, "/")):
        made += (_sum("sums", form, sign, *pair) for form in forms for pair in PAIRS)
    for number, form in enumerate(QUESTIONS_OF_SUMS):
        made += (_sum("questions", form, "*", *pair) for pair in PAIRS[2 * number :][:2])
    known = _people()
    for relation, forms in FACTS.items():
        made += (_fact("facts", form, relation, name, known) for form in forms for name in PEOPLE)
    asked = [(relation, form) for relation, own in QUESTIONS_OF_FACTS.items() for form in own]
    for number, (relation, form) in enumerate(asked):
        names = PEOPLE[2 * number :][:2]
        made += (_fact("questions", form, relation, name, known) for name in names)
    return made


def _sum(kind: str, form: str, sign: str, a: int, b: int) -> Item:
    left, right, answer = {
        "*": (a, b, a * b),
        "+": (a, b, a + b),
        "-": (a + 7 * b, a, 7 * b),
        "/": (a * b, a, b),
    }[sign]
    prompt = form.format(a=a, b=b, s=left, p=left)
    # Use the order of the expression in the prompt or, without one, the order of the numbers.
    is_reversed = f"{right} {sign} {left}" in prompt
    arguments = f"{right} {sign} {left}" if is_reversed else f"{left} {sign} {right}"
    return Item(kind, form, prompt, arguments, str(answer))


def _fact(
    kind: str, form: str, relation: str, name: str, known: dict[tuple[str, str], str]
) -> Item:
    answer = known[name, relation]
    return Item(kind, form, form.format(name=name), f"{name}, {relation}", answer)


def _people() -> dict[tuple[str, str], str]:
    import csv

    from toolformer.settings.corpus_sections import STARTER_PEOPLE
    from toolformer.sources.files import built_in_path

    with (built_in_path(STARTER_PEOPLE) / "people.csv").open(encoding="utf-8") as file:
        return {(row["subject"], row["relation"]): row["value"] for row in csv.DictReader(file)}


def measure(root: Path) -> list[dict[str, Any]]:
    """Return a row per prompt: the completion of the home's finetuned model, and its scores."""
    from dagster_project.commands.complete import live_model
    from toolformer.evaluation.scoring import answered_number, contains_answer, is_number_right
    from toolformer.home.home import Home
    from toolformer.home.wiring.workspace import Workspace
    from toolformer.settings.settings_file import load_settings

    home, asked = Home(root), items()
    work, today = Workspace(load_settings(home.settings_file), home), datetime.date(2026, 1, 5)
    rows: list[dict[str, Any]] = []
    with live_model(work, model_name="finetuned") as live:
        for kind, max_new_tokens in (("sums", 16), ("facts", 16), ("questions", 32)):
            of_kind = [item for item in asked if item.kind == kind]
            prompts = [item.prompt for item in of_kind]
            completions = live.complete(prompts, today, live.decoding(max_new_tokens))
            for item, completion in zip(of_kind, completions, strict=True):
                text = completion.text_without_calls
                is_sum = item.answer.isdigit()
                if kind == "questions":
                    is_right = item.answer in text.replace(",", "")
                elif is_sum:
                    # A later sum has its own answer.
                    number = answered_number(text.partition("=")[0])
                    is_right = is_number_right(number, [item.answer])
                else:
                    is_right = contains_answer(text, [item.answer], first_words=5)
                is_called = any(
                    call.arguments.replace(" ", "") == item.arguments.replace(" ", "")
                    for call in completion.calls
                )
                rows.append(
                    {
                        "home": root.name,
                        **asdict(item),
                        "completion": completion.text,
                        "has_call": bool(completion.calls),
                        "has_right_arguments": is_called,
                        "is_right": is_right,
                    }
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--homes", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--json", type=Path, help="write figures and wrong completions to this file"
    )
    options = parser.parse_args()
    import polars as pl

    from benchmarks.machine import machine, versions

    frame = pl.DataFrame([row for root in options.homes for row in measure(root.resolve())])
    figures = (pl.len().alias("asked"), pl.col("has_call", "has_right_arguments", "is_right").sum())
    forms = frame.group_by("home", "kind", "form", maintain_order=True).agg(*figures)
    with pl.Config(tbl_rows=-1, tbl_width_chars=160, fmt_str_lengths=90):
        print(forms)
        print(frame.group_by("home", "kind", maintain_order=True).agg(*figures))
    if options.json is not None:
        wrong = frame.filter(~pl.col("is_right")).select("home", "prompt", "completion", "answer")
        written = {
            "machine": machine(),
            "versions": versions(),
            "forms": forms.to_dicts(),
            "wrong": wrong.to_dicts(),
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
