-- Score and weight of each item of a benchmark, for every model and mode.
select item_id, model, mode, score, score_weight, called_tool is not null as has_call
from evaluation_results
where benchmark = $benchmark and score is not null
order by model, mode, item_id
