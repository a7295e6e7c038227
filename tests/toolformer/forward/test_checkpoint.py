import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.forward.checkpoint import Checkpoint


def never():
    raise AssertionError("a finished step was computed again")


def test_a_finished_step_is_not_computed_again(tmp_path):
    checkpoint = Checkpoint(tmp_path / "stage", fingerprint="a")
    # JSON has no tuples and no number keys: always the same, or a resumed stage differs.
    first = checkpoint.step("one", lambda: {1: (2, 3)})
    assert first == checkpoint.step("one", never) == {"1": [2, 3]}
    again = Checkpoint(tmp_path / "stage", fingerprint="a")
    assert again.resumed_steps == 1
    assert again.step("one", never) == first


@given(value=st.floats())
def test_floats_come_back_bit_for_bit(tmp_path_factory, value):
    checkpoint = Checkpoint(tmp_path_factory.mktemp("stage"), fingerprint="a")
    (computed,) = checkpoint.step("one", lambda: [value])
    (stored,) = checkpoint.step("one", never)
    assert repr(computed) == repr(stored) == repr(value)


def test_steps_of_another_fingerprint_are_thrown_away(tmp_path):
    Checkpoint(tmp_path / "stage", fingerprint="a").step("one", lambda: 1)
    other = Checkpoint(tmp_path / "stage", fingerprint="b")
    assert other.resumed_steps == 0
    assert other.step("one", lambda: 2) == 2
    assert Checkpoint(tmp_path / "stage", fingerprint="b").step("one", never) == 2


@pytest.mark.parametrize(
    "torn", [b"", b'{"result": [1', b"\0\0\0\0", b"\xff\xfe", b"[1]", b"{}", b"7"]
)
def test_a_torn_step_is_computed_again(tmp_path, torn):
    checkpoint = Checkpoint(tmp_path / "stage", fingerprint="a")
    checkpoint.step("one", lambda: [1])
    (tmp_path / "stage" / "one.json").write_bytes(torn)
    assert checkpoint.stored("o*") == []
    assert checkpoint.step("one", lambda: [2]) == [2]
    assert checkpoint.step("one", never) == [2]
    assert checkpoint.stored("o*") == [[2]]


def test_a_step_that_fails_leaves_nothing(tmp_path):
    checkpoint = Checkpoint(tmp_path / "stage", fingerprint="a")

    def fail():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        checkpoint.step("one", fail)
    with pytest.raises(TypeError):
        checkpoint.step("two", lambda: object())
    assert Checkpoint(tmp_path / "stage", fingerprint="a").resumed_steps == 0
    assert [file.name for file in (tmp_path / "stage").iterdir()] == ["fingerprint"]
