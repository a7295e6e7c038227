-- Score and weight of each item of a benchmark, for every model and mode. Items of the same id can
-- be different questions or windows, so only items with equal `question` can be compared.
select item_id, md5(concat_ws(chr(10), prompt, gold)) as question, model, mode, score, score_weight, called_tool is not null as has_call
from evaluation_results
where benchmark = $benchmark and score is not null
order by model, mode, item_id
