-- One row per answer of a model that could call tools, with its answer to the same item with calls
-- disabled.
--
-- Columns:
--   benchmark: name of the benchmark
--   item_id: item of the benchmark
--   model: base, finetuned, a control, or a model named in the settings
--   mode: enabled, or the mode of a study
--   prompt: input of the model
--   output: output of the model, with its call
--   called_tool: tool that the model called; NULL if it called none
--   arguments: arguments of the call
--   result: result of the call
--   undone_call: first call that the model wrote and that was removed again, with the reason, for
--     example that the tool had no result; NULL if there was none
--   gold: accepted answers, as a JSON list
--   score: 1 if right, 0 if wrong
--   score_without_calls: score of the answer with calls disabled
--   is_result_right: whether the result, taken as the answer, would be right; NULL without a call
--   is_needless_call: whether the model called a tool, although it is right with calls disabled
--   is_missing_call: whether the model called no tool, although it is wrong with calls disabled
--   score_if_forced: score if the model's own call is opened once, at the position of the answer
--     without calls where ` [` is most likely; NULL before `python -m benchmarks.studies openings`
--   is_unused_result: whether the result is right but the answer wrong
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
    -- Items of the same id can be different questions.
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
