-- Number of items of a benchmark without a score for a model, by reason, in all modes.
select reason, count(*) as items
from evaluation_results
where benchmark = $benchmark and model = $model and reason is not null
group by reason
order by reason
