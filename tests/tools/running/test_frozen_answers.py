"""Frozen answers: what is read is what was written, and whatever else lies there is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tools.errors import FrozenAnswersError
from tools.protocol import Document
from tools.running.frozen_answers import (
    FrozenAnswer,
    FrozenAnswers,
    FrozenRecord,
    document_digest,
    frozen_schema,
    write_frozen_answers,
)

ECHO = FrozenRecord(
    name="Echo",
    round=1,
    version="1 times=2",
    version_while_decoding="1 times=2",
    sampling_version="1",
    proposals_version="1",
    makes_proposals=False,
    takes_arguments=True,
    description="Repeats.",
    prompt="Input: {text}\nOutput:",
    parameters=None,
    settings={"tools.Echo.options.times": 2, "execution.leak_share": 0.5},
)
ROW = {
    "tool": "Echo",
    "round": 1,
    "tool_version": "1 times=2",
    "arguments": "a",
    "document": "d1",
    "character_offset": 3,
    "result": "a a",
    "reason": None,
    "repeated_before": None,
    "repeated_after": None,
    "message": None,
}


def table(*changes: dict) -> pa.Table:
    return pa.Table.from_pylist([ROW | each for each in changes], schema=frozen_schema())


def write(file: Path, *changes: dict, records=(ECHO,)) -> Path:
    write_frozen_answers(file, records, [table(each) for each in changes])
    return file


def test_what_is_found_is_what_was_written(tmp_path: Path):
    second = replace(ECHO, round=2, version="2")
    leak = {"result": None, "reason": "leak", "repeated_before": 0.0, "repeated_after": 1.0}
    file = write(
        tmp_path / "answers.parquet",
        {},
        {"character_offset": 4, **leak},
        {"document": "d2", "result": "a [é] 東京"},
        {"document": "d3"},
        {"round": 2, "tool_version": "2", "result": "of round 2"},
        {"tool_version": "0", "arguments": "of another version"},
        {"tool": "Other", "arguments": "of another tool"},
        records=(ECHO, second),
    )
    answers = FrozenAnswers(file)
    assert answers.records == [ECHO, second]
    assert answers.record("Echo", 2) == second
    assert answers.record("Echo", 3) is None
    assert answers.find(ECHO, {"d1", "d2", "d9"}) == {
        ("a", "d1", 3): FrozenAnswer("a a", None, None, None),
        ("a", "d1", 4): FrozenAnswer(None, "leak", 0.0, 1.0),
        ("a", "d2", 3): FrozenAnswer("a [é] 東京", None, None, None),
    }
    assert answers.find(second, {"d1"}) == {
        ("a", "d1", 3): FrozenAnswer("of round 2", None, None, None)
    }
    assert answers.find(ECHO, set()) == {}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_result_wins_over_a_failure_of_the_same_call(tmp_path: Path, is_first: bool):
    rows = [{}, {"result": None, "reason": "timeout"}]
    file = write(tmp_path / "answers.parquet", *(rows if is_first else rows[::-1]))
    (answer,) = FrozenAnswers(file).find(ECHO, {"d1"}).values()
    assert answer.result == "a a"


def test_a_digest_names_all_of_a_text_but_its_id():
    text = Document("a", "text")
    others = [
        replace(text, text="Text"),
        replace(text, url="u"),
        replace(text, title="u"),
        replace(text, published_on="2024-05-03"),
    ]
    assert document_digest(replace(text, document_id="b")) == document_digest(text)
    assert len({document_digest(each) for each in (text, *others)}) == 5


def test_what_is_no_file_of_answers_is_refused(tmp_path: Path):
    file = tmp_path / "answers.parquet"
    with pytest.raises(FrozenAnswersError, match="There is no file"):
        FrozenAnswers(file)
    with pytest.raises(FrozenAnswersError, match="cannot be read"):
        FrozenAnswers(tmp_path)
    for garbage in (b"", b"garbage", b"PAR1" + b"\0" * 100 + b"PAR1"):
        file.write_bytes(garbage)
        with pytest.raises(FrozenAnswersError, match="cannot be read"):
            FrozenAnswers(file)
    pq.write_table(table({}), file)
    with pytest.raises(FrozenAnswersError, match="another Parquet file"):
        FrozenAnswers(file)


@pytest.mark.parametrize(
    ("footer", "message"),
    [
        ("{", "footer is not as it was written"),
        ('{"form": 2, "tools": []}', "has the form 2, and this release reads 1"),
        ('{"form": 1, "tools": [{"name": "Echo"}]}', "footer is not as it was written"),
        ('{"form": 1}', "footer is not as it was written"),
        ("[]", "footer is not as it was written"),
    ],
)
def test_a_footer_of_another_form_is_refused(tmp_path: Path, footer: str, message: str):
    schema = frozen_schema().with_metadata({b"toolformer.frozen_answers": footer.encode()})
    pq.write_table(table({}).cast(schema), tmp_path / "answers.parquet")
    with pytest.raises(FrozenAnswersError, match=message):
        FrozenAnswers(tmp_path / "answers.parquet")


def test_other_columns_are_refused(tmp_path: Path):
    metadata = {b"toolformer.frozen_answers": json.dumps({"form": 1, "tools": []}).encode()}
    rows = table({}).drop_columns(["reason"]).replace_schema_metadata(metadata)
    pq.write_table(rows, tmp_path / "answers.parquet")
    with pytest.raises(FrozenAnswersError, match="columns"):
        FrozenAnswers(tmp_path / "answers.parquet")


def test_a_truncated_file_is_an_error(tmp_path: Path):
    content = write(tmp_path / "answers.parquet", {}).read_bytes()
    truncated = tmp_path / "truncated.parquet"
    for length in range(0, len(content), 97):
        truncated.write_bytes(content[:length])
        with pytest.raises(FrozenAnswersError, match="cannot be read"):
            FrozenAnswers(truncated)


def test_a_flipped_bit_in_the_rows_changes_no_answer(tmp_path: Path):
    file = tmp_path / "answers.parquet"
    write_frozen_answers(file, [ECHO], [table(*({"document": f"d{n}"} for n in range(5)))])
    content = file.read_bytes()
    expected = FrozenAnswers(file).find(ECHO, {"d3"})
    errors = 0
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(4, footer, 7):
        flipped = bytes([content[place] ^ 1])
        file.write_bytes(content[:place] + flipped + content[place + 1 :])
        try:
            assert FrozenAnswers(file).find(ECHO, {"d3"}) == expected
        except FrozenAnswersError:
            errors += 1
    assert errors > 50


def test_a_file_that_is_taken_away_is_an_error(tmp_path: Path):
    answers = FrozenAnswers(write(tmp_path / "answers.parquet", {}))
    answers.file.unlink()
    with pytest.raises(FrozenAnswersError, match="cannot be read"):
        answers.find(ECHO, {"d1"})
