"""`make demo`: the whole pipeline on the embedded model and texts, in minutes.

Each step is a command that a user would type, run in a process of its own so that memory is given
back between them. Does not compute anything itself.
"""

import datetime
import subprocess
import sys
import time

import polars as pl

from dagster_project.commands import console
from dagster_project.commands.errors import errors_told
from dagster_project.commands.reporting import make_report, show_examples
from dagster_project.home import Home
from dagster_project.report.verdicts import verdicts_of
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.sections import BASE, FINETUNED, Settings
from dagster_project.settings.settings_file import load_settings, write_settings_file
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.call_threshold import least_call_probability
from dagster_project.wiring.live_calls import complete_with_tools
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.toolbox import open_toolbox
from dagster_project.wiring.warehouse import open_warehouse

PRESET = "demo"
# Completed with and without tools, each with the date that the Calendar takes for today.
_PROMPTS = (
    ("The choir sold 148 tickets at 12 crowns each, so it took 148 * 12 =", "2023-06-09"),
    ("A crate holds 36 bottles, so 45 crates hold 36 * 45 =", "2024-02-01"),
    ("Each of the 64 children gets 3 plums, which makes 64 * 3 =", "2022-11-15"),
    ("The market is open again this week; today is", "2024-05-31"),
    ("Exactly ten years ago today, on", "2021-03-06"),
    ("The philosopher Aristotle was born in the Greek city of", "2024-02-01"),
)
_COMPLETION_TOKENS = 24
_ANNOTATION = {
    "none": "the model's own",
    "positions": "the model's calls at places that the tools propose",
    "calls": "the tools propose them",
}


def main() -> None:
    """Run the demo; an expected error is one paragraph and exit code 1."""
    began = time.monotonic()
    with errors_told():
        home = Home.find()
        settings = _settings(home)
        _introduce(home, settings)
        for command in ("build", "train", "evaluate"):
            _run(command)
        _summarise(home, settings)
        _complete(home, settings)
        console.heading("Kept calls against chance")
        make_report(None)
        _tell_perplexity(home)
    console.heading(f"Done in {time.monotonic() - began:.0f} s.")
    console.say(
        f"Everything is in {home.root}. Next: `make ui` to see it in Dagster; "
        '`toolformer sql "select * from kept_examples"`; `toolformer ingest` for your own texts.'
    )


def _settings(home: Home) -> Settings:
    write_settings_file(home.settings_file, preset=PRESET)
    settings = load_settings(home.settings_file)
    if settings.preset != PRESET:
        raise SettingsError(
            f"The home {str(home.root)!r} is set up with the preset {settings.preset!r}, and the "
            "demo would replace what was built there. Set TOOLFORMER_HOME to an empty folder for "
            "the demo."
        )
    return settings


def _introduce(home: Home, settings: Settings) -> None:
    paper = Settings()  # pyright: ignore[reportCallIssue]
    console.heading("Toolformer: a language model teaches itself to use tools")
    console.say(
        f"Preset '{PRESET}' in {home.settings_file}: cut down to minutes on two cores. What is cut,"
        " beside the paper's values:"
    )
    rows = [
        ("language model", "GPT-J, 6B", settings.language_model.path),
        ("texts", "a part of CCNet", _sources(settings)),
        ("window, tokens", "not given", settings.corpus.window_tokens),
        ("training", _length_of_training(paper), _length_of_training(settings)),
        ("learning rate", paper.training.learning_rate, settings.training.learning_rate),
        (
            "places and calls of annotation",
            _ANNOTATION[paper.sampling.proposals],
            _ANNOTATION[settings.sampling.proposals],
        ),
        ("held-out windows", "10,000 texts", settings.evaluation.perplexity_windows),
        ("DATESET questions", paper.evaluation.dateset_items, settings.evaluation.dateset_items),
    ]
    for name in ("Calculator", "WikiSearch", "Calendar"):
        of_paper, of_demo = paper.tools.of(name), settings.tools.of(name)
        for label, attribute in (
            ("τ_s", "sampling_threshold"),
            ("k", "positions_per_text"),
            ("m", "calls_per_position"),
            ("τ_f", "filtering_threshold"),
            ("τ_c, contrast with another call's result", "contrast_threshold"),
        ):
            values = getattr(of_paper, attribute), getattr(of_demo, attribute)
            if values[0] != values[1]:
                rows.append((f"{name}: {label}", *values))
    rows.append(
        (
            "Calculator: share of texts with three unrelated numbers",
            paper.tools.Calculator.options["weak_share"],
            settings.tools.Calculator.options["weak_share"],
        )
    )
    console.frame(
        pl.DataFrame(
            [(name, _told(paper_value), _told(value)) for name, paper_value, value in rows],
            schema=["setting", "paper", "demo"],
            orient="row",
        )
    )


def _told(value: object) -> str:
    return "none" if value is None else str(value)


def _sources(settings: Settings) -> str:
    return " + ".join(
        source.path + (f" (first {source.limit} records)" if source.limit else "")
        for source in settings.corpus.sources
    )


def _length_of_training(settings: Settings) -> str:
    training = settings.training
    steps = f"{training.steps} steps" if training.steps else f"{training.epochs:g} epochs"
    return f"{steps}, {training.batch_size} texts a step"


def _run(command: str) -> None:
    console.heading(f"$ toolformer {command}")
    done = subprocess.run([sys.executable, "-m", "dagster_project.cli", command], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def _summarise(home: Home, settings: Settings) -> None:
    warehouse = open_warehouse(home)
    console.heading("Funnel")
    number = settings.sampling.round
    funnel = warehouse.view("call_funnel", round_number=number).sort("stage_order", "tool")
    console.frame(funnel.pivot("tool", index="stage", values="rows", maintain_order=True))
    console.heading("Kept calls at the demo's threshold and at the paper's")
    sweep = {
        (row["tool"], row["filtering_threshold"]): row["kept_calls"]
        for row in warehouse.view("threshold_sweep", round_number=number).iter_rows(named=True)
    }
    rows = []
    for name in sorted({tool for tool, _ in sweep}):
        demo = settings.tools.of(name).filtering_threshold
        paper = Settings().tools.of(name).filtering_threshold  # pyright: ignore[reportCallIssue]
        rows.append((name, demo, sweep[name, demo], paper, sweep[name, paper]))
    console.frame(
        pl.DataFrame(
            rows,
            schema=["tool", "τ_f of the demo", "kept", "τ_f of the paper", "kept there"],
            orient="row",
        )
    )
    show_examples(warehouse, verdicts_of(warehouse), per_tool=3)


def _complete(home: Home, settings: Settings) -> None:
    console.heading("Completions of the finetuned model")
    holder = ModelHolder()
    toolbox = open_toolbox(settings, home, while_decoding=True, holder=holder)
    try:
        directory = finetuned_model_directory(settings, home)
        model = holder.load(directory, settings, home)
        for with_calls in (False, True):
            completions = complete_with_tools(
                model,
                [prompt for prompt, _ in _PROMPTS],
                toolbox,
                settings,
                dates=[datetime.date.fromisoformat(date) for _, date in _PROMPTS],
                with_calls=with_calls,
                least_call_probability=least_call_probability(directory, settings),
                max_new_tokens=_COMPLETION_TOKENS,
            )
            console.say("with tools:" if with_calls else "without tools:")
            for completion in completions:
                text = " ".join((completion.prompt + "⟫" + completion.text).split())
                console.say(f"  {text}")
                for undone in completion.undone_calls:
                    console.say(f"    (taken back:{undone.text} – {undone.reason})")
    finally:
        holder.release()


def _tell_perplexity(home: Home) -> None:
    """Whether the model still reads texts without calls as well as its base."""
    of_texts = open_warehouse(home).view("evaluation_summary").filter(benchmark="perplexity")
    scores = dict(of_texts.select("model", "score").iter_rows())
    base, finetuned = scores[BASE], scores[FINETUNED]
    console.say(
        f"Perplexity of held-out texts, calls disabled: {finetuned:.1f} of the finetuned model, "
        f"{base:.1f} of the base model ({100 * (finetuned / base - 1):+.1f} %)."
    )


if __name__ == "__main__":
    main()
