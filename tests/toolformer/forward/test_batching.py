from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import tiny_model
from toolformer.errors import OutOfMemoryError
from toolformer.forward.batching import feed_in_batches, feed_in_halves, is_regrouped, plan_batches
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel


def windows_per_batch(model, *, windows=1000, branches=25, window_tokens=256) -> int:
    keys = 400 + 4 * window_tokens + 64 * branches
    return model.windows_per_batch(windows=windows, branches=branches, keys=keys)


def feed(folder, compute, *, size=4) -> tuple[list, list[tuple[int, int]]]:
    """The results, and the batches that were computed."""
    taken = []

    def record(start, end):
        taken.append((start, end))
        return compute(start, end)

    batches = feed_in_batches(
        10,
        size=size,
        end_of_batch=lambda start, size: min(start + size, 10),
        compute=record,
        checkpoint=Checkpoint(folder, fingerprint="x"),
        label="fed",
    )
    return [each for _, _, result in batches for each in result], taken


def rows(start, end):
    return list(range(start, end))


def raising(error):
    def fail(start, end):
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_halves_what_follows_and_marks_the_partition(tmp_path, error):
    def small_only(start, end):
        if end - start > 2 and start >= 4:
            raise error
        return rows(start, end)

    taken = [(0, 4), (4, 8), (4, 6), (6, 8), (8, 10)]
    assert feed(tmp_path, small_only) == (rows(0, 10), taken)
    assert is_regrouped(Checkpoint(tmp_path, fingerprint="x"))


def test_a_resumed_partition_keeps_its_sizes_whatever_the_device_would_take_now(tmp_path):
    class KilledError(Exception):
        pass

    def die(start, end):
        if start == 4 and end == 6:
            raise KilledError
        if end - start > 2 and start >= 4:
            raise MemoryError
        return rows(start, end)

    with pytest.raises(KilledError):
        feed(tmp_path, die)
    assert feed(tmp_path, rows, size=100) == (rows(0, 10), [(4, 6), (6, 8), (8, 10)])


def test_results_of_other_sizes_are_not_taken_when_the_sizes_are_lost(tmp_path):
    """Their file was altered on the disk: what batches of two gave is none of a batch of four."""
    feed(tmp_path, rows, size=2)
    (tmp_path / "fed-sizes.json").write_text("[[0, 2]]")
    assert feed(tmp_path, rows) == (rows(0, 10), [(0, 4), (4, 8)])


def test_a_single_row_that_does_not_fit_says_what_to_do(tmp_path):
    with pytest.raises(OutOfMemoryError, match=r"Lower corpus\.window_tokens"):
        feed(tmp_path, raising(MemoryError))
    # Nothing that was computed is lost, and the next attempt begins small.
    assert Checkpoint(tmp_path, fingerprint="x").step("fed-sizes", list)[-1] == [0, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match="shapes do not match"):
        feed(tmp_path, raising(RuntimeError("shapes do not match")))


@pytest.mark.parametrize(("branches", "windows"), [(25, 32), (200, 4), (5000, 1)])
def test_a_processor_decodes_about_as_many_branches_whatever_the_tool(branches, windows):
    assert windows_per_batch(tiny_model(), branches=branches) == windows
    assert windows_per_batch(tiny_model(), branches=branches, windows=3) == min(windows, 3)
    assert tiny_model().batch_tokens(window_tokens=256) == 1024


class OnGpu:
    """What is read of a model on a GPU."""

    windows_per_batch = LanguageModel.windows_per_batch
    batch_tokens, rows_at_once = LanguageModel.batch_tokens, LanguageModel.rows_at_once

    def __init__(self, model):
        self.text_config, self.key_bytes = model.text_config, model.key_bytes
        self.model = model.model
        self.is_plain = model.is_plain
        self.device = torch.device("cuda")


def gpu_memory(monkeypatch, *, free, reserved=0, allocated=0, whole=2**40):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, whole))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)


def test_what_the_allocator_holds_unused_counts_as_free(monkeypatch):
    """The first partition left it there; the second one gets batches as large."""
    model = OnGpu(tiny_model())

    def sizes():
        return windows_per_batch(model), model.rows_at_once(row_tokens=512)

    gpu_memory(monkeypatch, free=2**25, reserved=2**24, allocated=2**24)
    first = sizes()
    gpu_memory(monkeypatch, free=2**24, reserved=2**25, allocated=2**24)
    assert sizes() == first
    gpu_memory(monkeypatch, free=2**24, reserved=2**25, allocated=2**25)
    assert all(now < before for now, before in zip(sizes(), first, strict=True))


def test_tools_that_are_scored_at_different_times_have_batches_of_the_same_texts(monkeypatch):
    model = OnGpu(tiny_model())
    sizes = set()
    for free, whole in [(2**20, 2**24), (2**24, 2**24), (2**24, 2**23)]:
        gpu_memory(monkeypatch, free=free, whole=whole)
        sizes.add(model.batch_tokens(window_tokens=16))
    # The last is a smaller device.
    assert len(sizes) == 2


@pytest.mark.parametrize("free", [2**20, 2**24, 2**28, 2**36])
def test_a_gpu_takes_what_its_free_memory_holds(monkeypatch, free):
    gpu_memory(monkeypatch, free=free)
    model = OnGpu(tiny_model())
    # Two layers of two key heads of size 8, keys and values, in float32.
    of_window = (400 + 4 * 256 + 25 * 64) * (2 * 2 * 2 * 8 * 4)
    assert windows_per_batch(model) == min(8192 // 25, max(1, free // 4 // of_window))
    assert windows_per_batch(model, window_tokens=512) <= windows_per_batch(model)
    assert 256 <= model.batch_tokens(window_tokens=256) <= 16384


def test_rows_that_do_not_fit_together_are_worked_on_by_halves():
    taken = []

    def small_only(rows, limit=2):
        taken.append(rows)
        if len(rows) > limit:
            raise MemoryError
        return [row * 10 for row in rows]

    assert feed_in_halves([1, 2, 3, 4, 5], small_only) == ([10, 20, 30, 40, 50], True)
    assert taken == [[1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [3], [4, 5]]
    assert feed_in_halves([1, 2], small_only) == ([10, 20], False)
    with pytest.raises(OutOfMemoryError, match="A single text does not fit"):
        feed_in_halves([1, 2], partial(small_only, limit=0))


def test_keys_of_long_windows_bound_a_batch_on_a_processor():
    model = tiny_model()
    short = windows_per_batch(model, branches=6)
    # The tiny model's keys take a few hundred bytes a token.
    long = windows_per_batch(model, branches=6, window_tokens=100_000)
    assert 1 <= long < short


# Planning

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(lengths=LENGTHS, token_budget=st.integers(1, 200))
def test_batches_hold_each_row_once_longest_first_and_as_many_as_the_budget_takes(
    lengths, token_budget
):
    batches = plan_batches(lengths, token_budget=token_budget)
    order = [index for batch in batches for index in batch]
    # Equal ones keep their order.
    assert order == sorted(range(len(lengths)), key=lambda index: -lengths[index])
    assert all(batches)
    for batch in batches:
        # With its padding.
        assert lengths[batch[0]] * len(batch) <= token_budget or len(batch) == 1
    for batch in batches[:-1]:
        assert lengths[batch[0]] * (len(batch) + 1) > token_budget
