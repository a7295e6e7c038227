"""The minimum call probability, calibrated for a tiny model on a handful of texts."""

import json
from collections.abc import Iterable, Sequence

import polars as pl
import pytest

from assets.run import Run
from assets.training.development_texts import DevelopmentText, development_texts
from tests.fakes import byte_tokenizer, taught_model
from tests.materialising import materialise, metadata_of
from tests.toolformer.training.tiny import record
from tests.warehouse.rows import CALL, SHARD, new_warehouse, put
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE, RECORD_FILE
from toolformer.decoding.calibration import read_min_call_probability
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.opening_thresholds import best_threshold, prompt_threshold
from toolformer.errors import ToolformerError
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import split_into_windows
from toolformer.home.fingerprints import FINGERPRINT, PARTS
from toolformer.home.home import Home
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from toolformer.training.training_set import is_development_document
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

SHARE, K, WINDOW_TOKENS = 0.5, 300, 24
TEXT = "Six crates of 24 make 144 bottles, of which 12 were broken."
URL = "https://example.org/2020/05/04/results"
LESSONS = ("Six [Calculator(6 * 24) -> 144] crates of 24 make",)
AT = len("Six")
TOOLS = ("Calculator", "Calendar")
OVERRIDES = {
    "corpus": {"window_tokens": WINDOW_TOKENS},
    "decoding": {"call_top_k": K, "min_call_probability": None},
    "training": {"development_share": SHARE},
}
_NAMES = [f"d{number}" for number in range(60)]
HELD_BACK = [name for name in _NAMES if is_development_document(name, SHARE)]
TRAINED_ON = [name for name in _NAMES if name not in HELD_BACK][:3]
# With a kept call in the first window; the others hold none.
WITH_CALLS, PLAIN, LEFT_OUT = HELD_BACK[:9], HELD_BACK[9], HELD_BACK[10]


@pytest.fixture(scope="module")
def pupil():
    return taught_model(LESSONS)


@pytest.fixture
def home(tmp_path, monkeypatch, pupil: LanguageModel) -> Home:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    home = Home(tmp_path)
    store = new_warehouse(tmp_path)
    windows = list(windows_of("any"))
    assert len(windows) == 3
    texts = [
        {
            "document_id": name,
            "split": "development" if name in WITH_CALLS else "train",
            "text": windows[0].text,
            "calls": [CALL | {"call_id": name, "position": AT, "character_offset": AT}],
        }
        for name in (*WITH_CALLS, *TRAINED_ON)
    ]
    excluded = [{"document_id": LEFT_OUT, "window_index": number} for number in (0, 1)]
    put(store, "training_texts", *texts, fingerprint="training_texts")
    put(store, "training_exclusions", *excluded, fingerprint="training_exclusions")
    store_documents(store, (*WITH_CALLS, *TRAINED_ON, PLAIN, LEFT_OUT))
    for variant in ("base", "calls", "plain"):
        folder = tmp_path / "base" if variant == "base" else home.finetuned_model(1, variant)
        pupil.model.save_pretrained(folder)
        pupil.tokenizer.backend.save_pretrained(folder)
        if variant != "base":
            (folder / RECORD_FILE).write_text(json.dumps(record(variant)))
    return home


def windows_of(name: str):
    return split_into_windows(name, TEXT, byte_tokenizer(), window_tokens=WINDOW_TOKENS)


def calibrated(
    home: Home, variant: str = "calls", *, tool_names: Sequence[str] = TOOLS, **changes: dict
) -> dict:
    overrides = {
        **OVERRIDES,
        # Calibration is in float32 all the same.
        "language_model": {
            "path": str(home.root / "base"),
            "device": "cpu",
            "precision": "bfloat16",
        },
        **changes,
    }
    made = materialise(
        "min_call_probability", overrides=overrides, partition=variant, tools=tool_names
    )
    return metadata_of(made)


def texts_of(home: Home) -> list[DevelopmentText]:
    settings = Settings.model_validate(OVERRIDES)
    return development_texts(Workspace(settings, home), [SHARD], byte_tokenizer())


def store_documents(store: Warehouse, names: Iterable[str], **changes: str) -> None:
    rows = [
        {"document_id": name, "text": TEXT, "source_offset": number, **changes}
        for number, name in enumerate(names)
    ]
    put(store, "documents", *rows, fingerprint=f"documents {changes}")


def test_texts_without_calls_are_the_held_back_windows_in_which_nothing_was_kept(home: Home):
    texts = texts_of(home)
    found = {(text.window.document_id, text.window.index): text.call_positions for text in texts}
    assert found[WITH_CALLS[0], 0] == {AT: "Calculator"}
    assert len(found) == len(texts)
    assert {key for key, calls in found.items() if calls} == {(name, 0) for name in WITH_CALLS}
    assert {key for key, calls in found.items() if not calls} == {
        *((name, number) for name in WITH_CALLS for number in (1, 2)),
        *((PLAIN, number) for number in range(3)),
        (LEFT_OUT, 2),
    }
    windows = {window.index: window for window in windows_of("any")}
    for text in texts:
        of_text = windows[text.window.index]
        assert (text.window.ids, text.window.start) == (of_text.ids, of_text.start)
        document = text.document
        assert (document.document_id, document.text) == (text.window.document_id, TEXT)
        assert (document.title, document.url) == ("Results", URL)


def test_texts_stand_behind_the_context_that_training_puts_in_front(home: Home):
    store = Warehouse(home.warehouse, home.database)
    store_documents(store, (*WITH_CALLS, PLAIN), context="How many?")
    rows = store.read_partition("training_texts", ALL, ALL).with_columns(
        context=pl.lit("How many?")
    )
    store.replace_partition("training_texts", ALL, ALL, rows, metadata={FINGERPRINT: "context"})
    in_front = byte_tokenizer().encode("How many?\n")
    cut = {window.index: window for window in windows_of("any")}
    texts = texts_of(home)
    assert {text.window.index for text in texts} == {0, 1, 2}
    for text in texts:
        window, own = text.window, cut[text.window.index]
        ahead = in_front if own.index == 0 else []
        assert window.ids == (*ahead, *own.ids)
        assert window.offsets[: len(ahead)] == (None,) * len(ahead)
        # Places are those of the document.
        assert window.start + (window.offsets[len(ahead)] or 0) == own.start
        assert text.call_positions.keys() <= {len(in_front) + AT}
    assert sum(bool(text.call_positions) for text in texts) == len(WITH_CALLS)


def test_a_text_that_is_no_window_of_its_document_any_more_is_named(home: Home):
    store_documents(Warehouse(home.warehouse, home.database), WITH_CALLS, text=f"Ah. {TEXT}")
    with pytest.raises(ToolformerError, match="is not the one that was annotated"):
        texts_of(home)


def test_kept_calls_that_were_counted_in_other_tokens_are_refused(home: Home):
    call = CALL | {"position": AT + 1, "character_offset": AT}
    text = next(windows_of("any")).text
    of_text = {"document_id": WITH_CALLS[0], "split": "development", "text": text}
    store = Warehouse(home.warehouse, home.database)
    put(store, "training_texts", of_text | {"calls": [call]}, fingerprint="other tokens")
    with pytest.raises(ToolformerError, match="come from another model"):
        texts_of(home)


def test_the_values_are_those_with_which_the_models_own_calls_gain_most(home: Home):
    directory = home.finetuned_model(1)
    identity = model_identity(directory)
    said = calibrated(home)
    chosen = read_min_call_probability(directory)
    assert chosen is not None
    assert (chosen.texts_with_calls, chosen.texts_without_calls) == (9, 22)
    # Bytes; no token begins inside a character.
    assert chosen.kept_places == 9
    assert chosen.other_places == sum(len(text.window.ids) for text in texts_of(home)) - 9
    # The pupil writes its call wherever a text begins as the lesson does: also in a first window
    # of the others, which is the likeliest of the other places. That gains and probabilities are
    # the literal ones, the tests of `measure_openings` and `written_calls` say.
    kept = [opening for opening in chosen.openings if opening.is_kept]
    others = [opening for opening in chosen.openings if not opening.is_kept]
    likeliest = max(others, key=lambda opening: opening.probability)
    assert len(kept) == 9
    assert likeliest.gain > 0.5
    for each in kept:
        assert each.gain == pytest.approx(likeliest.gain, abs=1e-4)
        assert each.probability == pytest.approx(likeliest.probability, rel=1e-3)
    assert chosen.values == MinCallProbability(
        best_threshold(chosen.openings),
        prompt_threshold(chosen.openings, kept_weight=chosen.other_places / 9),
    )
    # Two others per text.
    assert len(others) <= 2 * (9 + 22)
    assert said["state"] == "done"
    assert said["tools"] == "Calculator, Calendar"
    assert said["minimum call probability"] == chosen.min_call_probability
    assert (
        said["minimum call probability after a prompt"] == chosen.min_call_probability_behind_prompt
    )
    assert chosen.summary in (directory / "README.md").read_text()
    # The Calendar has the date of each text, not the one that decoding presumes.
    assert "date_source=url" in chosen.made_from[PARTS]
    # How it is decoded makes it no other model, and nothing is made twice.
    assert model_identity(directory) == identity
    assert calibrated(home)["state"] == "up to date"
    # Where no tool can run, because Java is missing say, nothing that was measured is lost.
    file = directory / MIN_CALL_PROBABILITY_FILE
    before = file.read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, "open_toolbox", lambda _: Toolbox({}, {}, {}))
        assert calibrated(home)["state"].startswith("kept as it was: none of the tools can run")
    assert file.read_bytes() == before
    # A damaged choice is made anew.
    (directory / MIN_CALL_PROBABILITY_FILE).write_text("{")
    assert calibrated(home, decoding={"call_top_k": 2})["state"] == "done"
    assert json.loads((directory / MIN_CALL_PROBABILITY_FILE).read_text())["call_top_k"] == 2


@pytest.mark.parametrize(("share", "again"), [(0.9, "done"), (0, "up to date")])
def test_an_edited_chat_template_counts_where_texts_are_chats(home: Home, share, again):
    template = home.finetuned_model(1) / "chat_template.jinja"
    template.write_text("{% for turn in messages %}{{ turn.content }}: {% endfor %}")

    def state() -> str:
        training = {"development_share": SHARE, "chat_share": share}
        return calibrated(home, training=training)["state"]

    assert state() == "done"
    before = read_min_call_probability(home.finetuned_model(1))
    template.write_text("{% for turn in messages %}Say: {{ turn.content }}{% endfor %}")
    assert (state(), state()) == (again, "up to date")
    assert (read_min_call_probability(home.finetuned_model(1)) == before) is (share == 0)


def test_a_control_without_calls_has_no_value_and_says_so(home: Home):
    said = calibrated(home, "plain")
    assert said["minimum call probability"] == "none"
    assert "trained without calls" in said["reason"]
    assert calibrated(home, "plain")["state"] == "up to date"
    names = (*WITH_CALLS, *TRAINED_ON, PLAIN, LEFT_OUT)
    store_documents(Warehouse(home.warehouse, home.database), names, title="Other")
    assert calibrated(home, "plain")["state"] == "done"
    chosen = read_min_call_probability(home.finetuned_model(1, "plain"))
    assert chosen is not None
    assert chosen.min_call_probability is None
