-- Outputs of a model for the first two questions of a benchmark, in each mode.
select mode, prompt, output, gold, score
from evaluation_results
where benchmark = $benchmark and model = $model
qualify row_number() over (partition by mode order by item_id) <= 2
order by item_id, mode
