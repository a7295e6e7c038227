-- How many calls a model made where it needed none, left out where it needed one, and did not use.
--
-- Needless calls are what The Tool-Overuse Illusion (arXiv 2604.19749) measures. The answers
-- themselves are in `answers_with_calls`.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model that the settings name
--   mode: enabled, or that of a study
--   items: items with a score, in this mode and with calls disabled
--   calls: items on which a tool was called
--   needless_calls: items with a call that the model answers right with calls disabled
--   needless_share: share of these among all items that it answers right with calls disabled
--   missing_calls: items without a call that it answers wrong with calls disabled
--   missing_share: share of these among all items that it answers wrong with calls disabled
--   undone_calls: missing calls that the model wrote, and that were taken back, mostly since the tool
--     had no result: these no lower threshold wins (`answers_with_calls.undone_call`)
--   right_if_forced: missing calls whose answer is right where the model's own call opens all the
--     same; NULL until `python -m benchmarks.studies openings`. These a lower
--     `decoding.min_call_probability` can win; the others need other calls, so more annotation
--   forced_share: share of these among the missing calls that the study asked
--   unused_results: items with a call whose result is right as the answer, and that are wrong
--   unused_share: share of these among all items with such a result
select
    benchmark,
    model,
    mode,
    count(*) as items,
    count(called_tool) as calls,
    count(*) filter (where is_needless_call) as needless_calls,
    avg(is_needless_call::integer) filter (where score_without_calls = 1) as needless_share,
    count(*) filter (where is_missing_call) as missing_calls,
    avg(is_missing_call::integer) filter (where score_without_calls = 0) as missing_share,
    count(undone_call) filter (where is_missing_call) as undone_calls,
    sum(score_if_forced::integer) filter (where is_missing_call) as right_if_forced,
    avg(score_if_forced) filter (where is_missing_call) as forced_share,
    count(*) filter (where is_unused_result) as unused_results,
    avg(is_unused_result::integer) filter (where is_result_right) as unused_share
from answers_with_calls
group by benchmark, model, mode
order by benchmark, model, mode
