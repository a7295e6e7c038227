-- Perplexity of texts with calls disabled, for the base model (before) and each other model
-- (after). Only windows that both read, with equal numbers of tokens, are compared.
--
-- Result: benchmark, model, before, after.
select
    benchmark,
    model,
    exp(sum(base.score * score_weight) / sum(score_weight)) as before,
    exp(sum(own.score * score_weight) / sum(score_weight)) as after
from (from evaluation_results where model <> 'base') as own
inner join (select * exclude (model) from evaluation_results where model = 'base') as base
    using (benchmark, metric, mode, item_id, prompt, score_weight)
where metric = 'perplexity' and own.score + base.score is not null
group by all
order by all
