-- What the models wrote to the first items of DATESET.
select model, mode, prompt, output, gold, score
from evaluation_results
where benchmark = 'dateset'
order by item_id, model, mode
limit 8
