-- Score where the model called a tool and where it did not, by k of the trigger (paper, table 9).
--
-- A model that calls where it needs to scores higher without a call than it does on all items with
-- calls disabled (k = 0).
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model that the settings name
--   mode: disabled or enabled (calls), or that of a study
--   call_top_k: k of the trigger: a call opens where its opening is among the k likeliest tokens; 0
--     for calls disabled
--   items: how many have a score
--   score: share of right answers
--   share_with_call: share of the items in which a tool was called
--   score_with_call: score of the items with a call; NULL without any
--   score_without_call: score of the items without one; NULL without any
select
    benchmark,
    model,
    mode,
    call_top_k,
    count(score) as items,
    avg(score) as score,
    avg((called_tool is not null)::integer) filter (where score is not null) as share_with_call,
    avg(score) filter (where called_tool is not null) as score_with_call,
    avg(score) filter (where called_tool is null) as score_without_call
from evaluation_results
where without_tool is null and metric = 'accuracy'
group by benchmark, model, mode, call_top_k
order by benchmark, model, call_top_k, mode
