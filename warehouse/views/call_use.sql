-- Needless calls, missing calls and unused results per benchmark, model and mode.
--
-- The Tool-Overuse Illusion (arXiv 2604.19749) also measures needless calls. The view
-- `answers_with_calls` has the answers themselves.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model named in the settings
--   mode: enabled, or the mode of a study
--   items: number of items with a score both in this mode and with calls disabled
--   calls: number of items in which a tool was called
--   needless_calls: number of items with a call that the model answers right with calls disabled
--   needless_share: share of needless calls among all items answered right with calls disabled
--   missing_calls: number of items without a call that the model answers wrong with calls disabled
--   missing_share: share of missing calls among all items answered wrong with calls disabled
--   undone_calls: number of missing calls that the model wrote and that were removed again, mostly
--     because the tool had no result (`answers_with_calls.undone_call`); a lower threshold does not
--     recover them
--   right_if_forced: number of missing calls whose answer becomes right if the model's own call is
--     forced open; NULL before `python -m benchmarks.studies openings`. A lower
--     `decoding.min_call_probability` can recover these; the others need other calls, that is, more
--     annotation
--   forced_share: share of right_if_forced among the missing calls in the study
--   unused_results: number of items with a right result but a wrong answer
--   unused_share: share of unused results among all items with a right result
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
