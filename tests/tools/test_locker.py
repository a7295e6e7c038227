"""Locker numbers, and that nothing but its benchmark can have the tool."""

import re

import pytest

from tools.errors import UnknownToolError
from tools.locker import Locker
from tools.protocol import Document
from tools.registry import check_tool_name

NOWHERE = Document("a", "")


def test_a_number_follows_from_name_and_seed():
    numbers = {
        (seed, name): Locker(seed=seed).call(name, NOWHERE)
        for seed in range(3)
        for name in ("Ada King", "Ada Reed", "Leo King", "ada king", "?")
    }
    assert len(set(numbers.values())) == len(numbers)
    assert all(re.fullmatch(r"[1-9][0-9]{3}", number) for number in numbers.values())
    again = Locker(seed=1).call("Leo King", Document("b", "Leo King has 1234."))
    assert again == numbers[1, "Leo King"]


def test_another_seed_is_another_version():
    assert Locker(seed=1).version != Locker(seed=2).version


def test_no_setting_can_name_it():
    with pytest.raises(UnknownToolError):
        check_tool_name("Locker")
