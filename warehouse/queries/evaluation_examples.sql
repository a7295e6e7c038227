-- What the models wrote to the first questions of each benchmark.
select benchmark, model, mode, prompt, output, gold, score
from evaluation_results
where benchmark <> 'perplexity'
qualify row_number() over (partition by benchmark, model, mode order by item_id) <= 2
order by benchmark, item_id, model, mode
