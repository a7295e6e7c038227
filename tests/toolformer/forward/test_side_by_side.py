import threading
import time

import pytest
import torch

from tests.fakes import tiny_model
from tests.toolformer import architectures
from toolformer.forward import attention
from toolformer.forward.attention import PackedRows
from toolformer.forward.row_losses import losses_at
from toolformer.forward.side_by_side import batches_at_once, side_by_side

ROWS = [[1, 2, 3, 4, 5], [1, 7, 8, 9], [1, 4, 4, 2, 9, 3]]
PLACES = [(0, 2, 3), (1, 1, 8), (2, 4, 3)]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("number", "expected"), [(1, 1), (2, 2), (6, 6), (32, 8)])
def test_a_processor_computes_as_many_batches_as_it_has_threads_up_to_a_limit(
    threads, monkeypatch, number, expected
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)
    assert batches_at_once(tiny_model()) == expected


def test_a_model_whose_logits_need_its_whole_forward_pass_is_fed_by_one_thread(threads):
    threads(2)
    assert batches_at_once(architectures.tiny_granite()) == 1
    assert batches_at_once(tiny_model()) == 2


def test_a_single_one_is_computed_by_the_caller_when_its_result_is_asked_for():
    seen = []
    with side_by_side(1) as begin:
        wait = begin(lambda: seen.append(threading.current_thread()))
        assert seen == []
        wait()
    assert seen == [threading.current_thread()]


def test_the_threads_of_the_operations_are_shared_out_and_given_back(threads):
    threads(4)
    with side_by_side(2) as begin:
        waits = [begin(torch.get_num_threads) for _ in range(6)]
        assert {wait() for wait in waits} == {2}
    assert torch.get_num_threads() == 4


def test_what_is_not_needed_any_more_is_not_begun():
    begun = []
    gate = threading.Event()

    def fail_after_ten():
        with side_by_side(2) as begin:
            for number in range(10):
                begin(lambda number=number: (begun.append(number), gate.wait(0.2)))
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        fail_after_ten()
    assert len(begun) <= 3


def test_an_error_waits_for_what_is_running():
    ended = []

    def fail():
        with side_by_side(2) as begin:
            begin(lambda: (time.sleep(0.2), ended.append("slow")))
            wait = begin(lambda: 1 / 0)
            wait()

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ended == ["slow"]


def test_an_interrupt_does_not_wait_for_what_is_running(threads):
    threads(4)
    gate = threading.Event()

    def interrupt():
        with side_by_side(2) as begin:
            begin(lambda: gate.wait(60))
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert time.monotonic() - began < 30
    assert torch.get_num_threads() == 4
    gate.set()


def test_passes_of_several_threads_do_not_see_each_others_plans():
    model = tiny_model()
    before = model.model.config._attn_implementation
    fed_before = model.tokens_fed
    alone = [losses_at(model, ROWS[: number + 1], PLACES[: number + 1]) for number in range(3)]
    fed_once = model.tokens_fed - fed_before
    with side_by_side(3) as begin:
        waits = [
            begin(
                lambda number=each % 3: losses_at(model, ROWS[: number + 1], PLACES[: number + 1])
            )
            for each in range(60)
        ]
        for each, wait in enumerate(waits):
            assert wait() == pytest.approx(alone[each % 3], abs=1e-5)
    # None of the counts got lost, and the model is as it was.
    assert model.tokens_fed - fed_before == 21 * fed_once
    assert model.model.config._attn_implementation == before
    assert not attention._switched


def test_a_pass_that_fails_leaves_the_model_as_it_was():
    model = tiny_model()
    before = model.model.config._attn_implementation
    with pytest.raises(IndexError):
        model.packed_hidden_states(torch.tensor([10**6]), torch.tensor([0]), PackedRows([1]))
    assert model.model.config._attn_implementation == before
    assert not attention._switched
