"""The list of faults fits the code and the tests that there are."""

import pytest

from tests.conftest import REPOSITORY
from tests.mutations import FAULTS


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.file}: {fault.text.strip()}")
def test_the_text_is_there_once_and_the_test_exists(fault):
    content = (REPOSITORY / fault.file).read_text("utf-8")
    assert content.count(fault.text) == 1
    assert fault.replacement != fault.text
    file, _, name = fault.test.partition("::")
    assert f"\ndef {name}(" in (REPOSITORY / "tests" / file).read_text("utf-8")
