"""What a step of sampling asks of a card: no copy of all keys, and one wait."""

from benchmarks.launches import measure, set_attention


def test_keys_are_written_again_only_where_they_outgrow_their_room(small):
    set_attention(small.model, "grouped")
    ours = measure(small.model, small.tool, small.documents)
    set_attention(small.model, "sdpa")
    transformers = measure(small.model, small.tool, small.documents)
    assert ours.passes == transformers.passes > 5
    assert 0 < 5 * ours.bytes_of_keys < transformers.bytes_of_keys


def test_the_host_waits_once_a_pass_unless_a_draw_is_unlikely(small):
    counts = measure(small.model, small.tool, small.documents)
    assert counts.passes <= counts.transfers <= 2 * counts.passes
