-- Scores of items with and without a call, by k (paper, table 9).
--
-- If a model calls tools where it needs them, its score on items without a call is higher than its
-- score on all items with calls disabled (k = 0).
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model named in the settings
--   mode: disabled or enabled (calls), or the mode of a study
--   call_top_k: a call opens if its opening token is among the k most likely ones; 0 if calls are
--     disabled
--   items: number of items with a score
--   score: share of right answers
--   share_with_call: share of the items in which a tool was called
--   score_with_call: score of the items with a call; NULL if there are none
--   score_without_call: score of the items without a call; NULL if there are none
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
