-- Perplexity of texts, calls disabled, before training and of each other model: of the windows that
-- both read, in as many tokens.
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
