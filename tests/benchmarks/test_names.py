"""Whom a table answers for when a name is not written as the table has it."""

import pytest

from benchmarks.names import measure, read_people


@pytest.fixture(scope="module")
def counted(test_data):
    names = read_people(test_data / "lama" / "lama_google_re.jsonl.gz")
    return measure(names[:300], names[300:])


def test_a_slip_is_refused_or_found_and_hardly_anybody_answers_for_another(counted):
    absent = counted.pop("another's name")
    assert absent["refused"] >= 0.999 * absent.total()
    assert all(set(ends) <= {"right", "refused"} for ends in counted.values())


def test_names_that_differ_by_case_and_marks_are_found(counted):
    for kind in ("as written", "without case and marks"):
        assert counted[kind] == {"right": 300}
    assert counted["swapped"]["right"] > 50
