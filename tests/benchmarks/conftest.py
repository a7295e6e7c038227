"""A tiny model on both sides of the measurement, and a small workload."""

from types import SimpleNamespace

import pytest

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from tests.toolformer.conftest import _one_thread  # noqa: F401

PROMPT = (
    "Add calls.\n\nInput: 6 * 7 is 42\nOutput: 6 * 7 is [Calculator(6 * 7)] 42\n\n"
    "Input: {text}\nOutput:"
)
TEXTS = ("It sold 48 loaves at 3 crowns each, 144 in all.", "12 and 30 make 42, so 7.")


@pytest.fixture
def small():
    """The engine, the stock model of equal weights, two documents and a tool with k=4, m=3."""
    from benchmarks.batched_literal import LiteralEngine
    from benchmarks.workload import ToolWorkload

    model = tiny_model(context_length=1024)
    stock_model = tiny_model(context_length=1024).model
    return SimpleNamespace(
        model=model,
        stock=LiteralEngine(stock_model, model.tokenizer, bos_id=model.bos_id),
        documents=windows_of(model.tokenizer, *TEXTS),
        tool=ToolWorkload("Calculator", PROMPT, 4, 3, documents=2),
    )
