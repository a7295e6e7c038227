-- Score where the model called a tool and where it did not, by k of the trigger (paper, table 9).
--
-- Result: benchmark, model, mode, call_top_k, items, score, share_with_call, score_with_call,
-- score_without_call (NULL where there is no such item). A model that calls where it needs to
-- scores higher without a call than it does on all items with calls disabled (k = 0).
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
where call_top_k is not null and without_tool is null and metric = 'accuracy'
group by benchmark, model, mode, call_top_k
order by benchmark, model, call_top_k, mode
