"""No person of a table answers for another whose name is one edit away."""

import pytest

from benchmarks.names import measure, read_people


@pytest.fixture(scope="module")
def counted(test_data):
    names = read_people(test_data / "lama" / "lama_google_re.jsonl.gz")
    return measure(names[:300], names[300:])


def test_nobody_answers_for_another(counted):
    assert set(counted["another's name"]) == {"refused"}
    assert all(set(ends) <= {"right", "refused"} for ends in counted.values())


def test_names_that_differ_by_case_and_marks_are_found(counted):
    for kind in ("as written", "without case and marks"):
        assert counted[kind] == {"right": 300}
    assert counted["swapped"]["right"] > 50
