-- One line per answer that a model gave where it could call, beside its own with calls disabled.
--
-- Columns:
--   benchmark: name of the benchmark
--   item_id: item of the benchmark
--   model: base, finetuned, a control, or a model that the settings name
--   mode: enabled, or that of a study
--   prompt: what the model was given
--   output: what it wrote, with its call
--   called_tool: tool that it called; NULL where it called none
--   arguments: arguments of the call
--   result: result of the call
--   undone_call: the first call that it wrote and that was taken back, with the reason, such as that
--     the tool had no result; NULL where there was none
--   gold: accepted answers, as a JSON list
--   score: 1 right, 0 wrong
--   score_without_calls: score of its answer with calls disabled
--   is_result_right: whether the result would be right if it were the answer; NULL without a call
--   is_needless_call: it called, though it is right with calls disabled
--   is_missing_call: it called no tool, though it is wrong with calls disabled
--   score_if_forced: score of its answer where its own call opens at the one place of the answer
--     without calls where ` [` is likeliest; NULL until `python -m benchmarks.studies openings`
--   is_unused_result: the result is right, and the answer wrong
select
    benchmark,
    item_id,
    model,
    answered.mode,
    prompt,
    answered.output,
    answered.called_tool,
    answered.arguments,
    answered.result,
    answered.undone_call,
    gold,
    answered.score,
    disabled.score as score_without_calls,
    answered.is_result_right,
    answered.called_tool is not null and disabled.score = 1 as is_needless_call,
    answered.called_tool is null and disabled.score = 0 as is_missing_call,
    forced.score as score_if_forced,
    coalesce(answered.is_result_right, false) and answered.score = 0 as is_unused_result
from evaluation_results as answered
inner join evaluation_results as disabled
    -- Items of one name may be other questions.
    using (benchmark, item_id, model, metric, prompt, gold)
left join (from evaluation_results where mode = 'forced') as forced
    using (benchmark, item_id, model, metric, prompt, gold)
where
    metric = 'accuracy'
    and answered.mode <> 'disabled'
    and disabled.mode = 'disabled'
    and answered.score is not null
    and disabled.score is not null
order by benchmark, model, answered.mode, item_id
