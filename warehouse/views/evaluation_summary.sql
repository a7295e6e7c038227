-- Scores per benchmark, model and mode.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: base, finetuned, a control, or a model named in the settings
--   mode: disabled or enabled (calls), or the mode of a study
--   items: number of measured items
--   score: share of right answers, or for texts the perplexity, the exponential of the mean loss
--     per token; NULL if no item has a score
--   share_with_call: share of the items with a score in which a tool was called
--   share_rounded: if numbers are compared, share of items that are right only as a rounded number
--     (`counted_by`)
--   share_beyond_two_decimals: if numbers are compared, share of items whose gold number has more
--     than two decimals. No result of the Calculator equals it, unless `tools.Calculator.options`
--     sets more `decimals`
--   precision: floating-point format in which the model computed
--   divergence_from_base: for texts, mean of KL(base model ‖ this model) over all tokens, in nats
--     per token; NULL if not measured
with results as (
    select
        *,
        json_transform(case when counted_by <> 'words' then gold end, '["DOUBLE"]') as numbers
    from evaluation_results
),

means as (
    select
        benchmark,
        model,
        mode,
        any_value(metric) as metric,
        count(*) as items,
        sum(score * score_weight)
        / nullif(sum(score_weight) filter (where score is not null), 0) as mean_score,
        avg((called_tool is not null)::integer) filter (where score is not null)
            as share_with_call,
        avg((counted_by = 'rounded_number')::integer)
        filter (where counted_by <> 'words') as share_rounded,
        avg((list_min([abs(round(x, 2) - x) for x in numbers]) > 1e-4)::integer)
            as share_beyond_two_decimals,
        string_agg(distinct precision, ', ' order by precision) as precision,
        sum(divergence_from_base * score_weight)
        / sum(score_weight) filter (where divergence_from_base is not null) as divergence_from_base
    from results
    group by benchmark, model, mode
)
select
    benchmark,
    model,
    mode,
    items,
    case metric when 'perplexity' then exp(mean_score) else mean_score end as score,
    share_with_call,
    share_rounded,
    share_beyond_two_decimals,
    precision,
    divergence_from_base
from means
order by benchmark, model, mode
