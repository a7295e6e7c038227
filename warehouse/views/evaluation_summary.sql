-- One line per benchmark, model and mode.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model that the settings name
--   mode: disabled or enabled (calls), or that of a study
--   items: items of the benchmark that were measured
--   score: share of right answers; of texts the perplexity, the exponential of the mean loss per
--     token; NULL where no item has a score
--   share_with_call: share of items in which a tool was called
--   precision: precision that the model computed in
with means as (
    select
        benchmark,
        model,
        mode,
        any_value(metric) as metric,
        count(*) as items,
        sum(score * score_weight)
        / nullif(sum(score_weight) filter (where score is not null), 0) as mean_score,
        avg((called_tool is not null)::integer) as share_with_call,
        string_agg(distinct precision, ', ' order by precision) as precision
    from evaluation_results
    group by benchmark, model, mode
)
select
    benchmark,
    model,
    mode,
    items,
    case metric when 'perplexity' then exp(mean_score) else mean_score end as score,
    share_with_call,
    precision
from means
order by benchmark, model, mode
