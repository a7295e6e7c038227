"""Faults written by hand, each of which a test has to notice: `python -m tests.mutations`.

One at a time is put into a copy of the working tree, and the tests that are expected to notice it
run there. Those of the store need the extras `s3` and `clients`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.conftest import REPOSITORY

_FAILED = 1


class Fault(NamedTuple):
    """A fault.

    Attributes:
        file: below the repository.
        text: what stands there exactly once.
        replacement: what takes its place.
        test: the file of the test that is expected to fail, below `tests`, and its name.
    """

    file: str
    text: str
    replacement: str
    test: str


FAULTS = [
    # Scoring: weights, window, place of the call.
    Fault("toolformer/loss_weights.py", "3 / 15, 2 / 15, 1 / 15)", "2 / 15, 3 / 15, 1 / 15)",
          "vectors/test_vectors.py::test_the_case_passes_and_not_without_one_of_its_fields"),
    Fault("toolformer/scoring/losses.py", "[call.position :]", "[call.position + 1 :]",
          "toolformer/scoring/test_losses.py::test_losses_equal_the_literal_ones"),
    Fault("toolformer/scoring/losses.py", "max(row_positions) + len(self.weights)]",
          "max(row_positions) + len(self.weights) - 1]",
          "toolformer/scoring/test_losses.py::test_losses_equal_the_literal_ones"),
    Fault("toolformer/scoring/losses.py", "len(rows[index].prefix) + position,",
          "len(rows[index].prefix) + position - 1,",
          "toolformer/scoring/test_losses.py::test_losses_equal_the_literal_ones"),
    Fault("toolformer/scoring/call_scorer.py", "reaches(reduction_bound, self.threshold)",
          "reaches(reduction_bound, self.threshold + 0.5)",
          "toolformer/scoring/test_losses.py::test_pruning_changes_no_decision_for_any_losses"),
    Fault("toolformer/scoring/rescoring.py", "threshold = lowest_threshold - MARGIN",
          "threshold = lowest_threshold + MARGIN",
          "toolformer/scoring/test_rescoring.py::test_what_bfloat16_leaves_open_has_a_second_look"),
    Fault("toolformer/scoring/swapped_results.py", "if result in (call.result, other_than):",
          "if result == call.result:",
          "toolformer/scoring/test_swapped_results.py"
          "::test_a_second_result_is_neither_the_own_one_nor_the_first"),
    Fault("toolformer/calls.py", "call_pieces(call, None)[:-1]", "call_pieces(call, None)",
          "toolformer/test_augmentation.py::test_tokens_with_calls_spell_the_augmented_text"),
    # The filter.
    Fault("toolformer/filtering.py", "value >= threshold - THRESHOLD_TOLERANCE",
          "value > threshold + THRESHOLD_TOLERANCE",
          "toolformer/test_filtering.py"
          "::test_exactly_the_threshold_is_kept_and_a_millionth_less_is_not"),
    Fault("toolformer/filtering.py", "min(without_call, without_result) -", "without_call -",
          "toolformer/test_literal_decisions.py::test_the_calls_that_the_formulas_keep_are_kept"),
    # Places and samples.
    Fault("toolformer/positions.py", "if probability > threshold", "if probability >= threshold",
          "toolformer/test_positions.py::test_exactly_the_threshold_and_nan_are_not_above_it"),
    Fault("toolformer/positions.py", "window_offset -= 1", "window_offset += 1",
          "toolformer/test_positions.py::test_proposed_positions_equal_the_literal_ones"),
    Fault("toolformer/samples.py", "character_offset=window.start + offset",
          "character_offset=offset",
          "toolformer/test_samples.py::test_samples_become_rows_with_status_and_reason"),
    Fault("toolformer/samples.py", "seen.add(arguments)", "seen.add(sample_text)",
          "toolformer/test_samples.py::test_samples_become_rows_with_status_and_reason"),
    # The cache of keys and values.
    Fault("toolformer/forward/branch_keys.py", "self._seen[:, None] + paths.shape[1] +",
          "self._seen[:, None] +",
          "toolformer/test_sampling.py::test_sampled_calls_equal_the_literal_ones"),
    Fault("toolformer/forward/prefill.py", "dtype=torch.bool).tril()", "dtype=torch.bool)",
          "toolformer/decoding/test_call_gains.py::test_gains_are_those_of_whole_sequences"),
    Fault("toolformer/forward/checkpoint.py", "if text == self._sealed(name, content):",
          "if content:",
          "toolformer/forward/test_checkpoint.py::test_no_altered_byte_of_a_step_is_used"),
    # Decoding: when a call opens, what it leaves behind.
    Fault("toolformer/decoding/triggers.py", "return rank <= call_top_k",
          "return rank < call_top_k",
          "toolformer/decoding/test_decoder.py::test_call_is_opened_up_to_rank_k"),
    Fault("toolformer/forward/next_tokens.py", "(logits > own[:, None])",
          "(logits >= own[:, None])",
          "toolformer/forward/test_next_tokens.py::test_a_rank_counts_the_tokens_that_are_likelier"),
    Fault("toolformer/decoding/triggers.py",
          "meant[0] if len(meant) == 1 and start.startswith(meant[0]) else None",
          "meant[0] if len(meant) == 1 else None",
          "toolformer/decoding/test_decoder.py"
          "::test_a_tool_is_meant_once_its_whole_name_is_written_and_likely_enough"),
    Fault("toolformer/decoding/decoding_batch.py",
          "call.probability *= math.exp(expected.log_probability(token))", "pass",
          "toolformer/decoding/test_decoder.py"
          "::test_what_is_read_ahead_and_does_not_open_bans_nothing_and_is_not_fed_again"),
    Fault("toolformer/decoding/decoding_row.py", "        self.is_banned = True\n", "",
          "toolformer/decoding/test_decoder.py"
          "::test_undone_call_leaves_exactly_the_continuation_without_calls"),
    Fault("toolformer/decoding/decoding_row.py", "self.tokens_outside_calls + self.calls_so_far",
          "self.tokens_outside_calls",
          "toolformer/decoding/test_decoder.py"
          "::test_the_first_token_behind_the_prompt_opens_by_a_value_of_its_own"),
    Fault("toolformer/decoding/live_text.py", "range(min(len(stop_text) - 1,",
          "range(min(len(stop_text) - 2,",
          "toolformer/decoding/test_live_batch.py"
          "::test_pieces_hold_back_what_may_become_a_stop_text"),
    Fault("toolformer/decoding/calibration.py", "if total > largest:", "if total >= largest:",
          "toolformer/decoding/test_calibration.py"
          "::test_no_other_threshold_gains_more_and_none_that_is_larger_as_much"),
    # The stages.
    Fault("toolformer/augmentation.py", "return -call.loss_reduction,",
          "return call.loss_reduction,",
          "toolformer/test_augmentation.py"
          "::test_one_call_is_left_per_position_and_it_is_the_best"),
    Fault("assets/dataset/filtering.py", ', "tools.*.contrast_threshold")', ",)",
          "assets/dataset/test_pipeline.py"
          "::test_every_setting_is_named_by_a_stage_or_said_to_have_no_effect"),
    Fault("assets/outputs.py", "        expected.check_unchanged(self.expected())\n", "",
          "assets/test_inputs.py::test_an_input_that_changes_while_rows_are_made_of_it_fails"),
    Fault("assets/outputs.py", "(side or {}).get(FINGERPRINT) != stored[FINGERPRINT]",
          "side is None",
          "assets/test_inputs.py"
          "::test_rows_beside_an_output_are_of_its_own_run_after_a_kill_of_another_one"),
    # The store.
    Fault("warehouse/versions.py", "= max(file_name,", "= min(file_name,",
          "warehouse/test_partitions.py"
          "::test_restored_shard_has_its_newest_partitions_and_keeps_what_was_made_anew"),
    Fault("warehouse/partitions.py", "if not has_digest(path.name, digest_of(content)):",
          "if not content:",
          "warehouse/test_damage.py::test_no_flipped_bit_gives_other_rows_or_other_metadata"),
    Fault("warehouse/store/partition_store.py", "newest) != newest:", "newest) is None:",
          "warehouse/store/test_partition_store.py"
          "::test_who_looked_before_another_wrote_is_refused_and_its_rows_are_not_stored"),
    Fault("warehouse/store/sweep.py", "if following.written < limit", "if old.written < limit",
          "warehouse/store/test_partition_store.py"
          "::test_an_old_version_that_was_replaced_just_now_is_not_swept"),
    # SQL.
    Fault("warehouse/queries/filtered_calls.sql", "least(loss_without_call, loss_alone)",
          "greatest(loss_without_call, loss_alone)",
          "warehouse/test_filtered_calls.py::test_the_statement_decides_as_the_engine_does"),
    Fault("warehouse/queries/filtered_calls.sql",
          "loss_with_second_swapped_result - loss_with_swapped_result",
          "loss_with_second_swapped_result - loss_with_result",
          "warehouse/test_filtered_calls.py::test_the_statement_decides_as_the_engine_does"),
    Fault("warehouse/views/threshold_sweep.sql",
          "where reaches(filtering_threshold, tools.lowest_threshold)", "where true",
          "warehouse/test_views.py"
          "::test_sweep_has_nothing_below_the_lowest_threshold_and_no_chance_share_without_a_sample"),
    Fault("warehouse/views/evaluation_difference.sql",
          "(difference > 0) = (metric = 'accuracy')", "difference > 0",
          "warehouse/test_views.py::test_a_difference_is_one_where_interval_and_test_agree"),
    Fault("warehouse/views/call_statistics.sql",
          "sum(loss_reduction) / sum(calls) filter (where reason = 'kept')",
          "sum(loss_reduction) / sum(calls)",
          "warehouse/test_views.py::test_statistics_sum_costs_and_average_over_kept_calls"),
]  # fmt: skip


def main() -> int:
    """Print a line for each fault; 0 where all are caught."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder)
        _copy_working_tree(copy)
        if (done := _tested(copy, *dict.fromkeys(fault.test for fault in FAULTS))).returncode:
            _say(f"{done.stdout[-5000:]}\nThe tests fail without any fault.")
            return 1
        outcomes = []
        for fault in FAULTS:
            began = time.monotonic()
            outcomes.append(_outcome(copy, fault))
            seconds = time.monotonic() - began
            _say(f"{outcomes[-1]:14} {seconds:4.0f} s  {fault.file}: {fault.text.strip()}")
    _say(f"{outcomes.count('caught')} of {len(outcomes)} faults are caught.")
    return int(set(outcomes) != {"caught"})


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def _outcome(copy: Path, fault: Fault) -> str:
    file = copy / fault.file
    content = file.read_text("utf-8")
    if content.count(fault.text) != 1:
        return "not there once"
    file.write_text(content.replace(fault.text, fault.replacement), "utf-8")
    try:
        return "caught" if _tested(copy, fault.test).returncode == _FAILED else "not caught"
    finally:
        file.write_text(content, "utf-8")


def _tested(copy: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests in the copy, up to the first that fails."""
    named = [f"tests/{test}" for test in tests]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *named]
    # Bytecode of a file is taken for that of another one of the same size and second.
    changes = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    environment = os.environ | changes
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)


def _copy_working_tree(target: Path) -> None:
    """Copy what git tracks and what it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, target / name)


if __name__ == "__main__":
    sys.exit(main())
