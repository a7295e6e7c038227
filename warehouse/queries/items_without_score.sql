-- How many items of a benchmark have no score with a model, by reason, in all modes.
select reason, count(*) as items
from evaluation_results
where benchmark = $benchmark and model = $model and reason is not null
group by reason
order by reason
