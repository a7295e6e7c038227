-- Perplexity of texts, calls disabled, before training and of each other model.
--
-- Result: benchmark, model, before, after.
with measured as (
    select benchmark, model, score
    from evaluation_summary
    where
        mode = 'disabled'
        and benchmark in (select benchmark from evaluation_results where metric = 'perplexity')
)

select
    measured.benchmark,
    measured.model,
    base.score as before,
    measured.score as after
from measured
join measured as base on base.benchmark = measured.benchmark and base.model = 'base'
where measured.model <> 'base'
order by all
