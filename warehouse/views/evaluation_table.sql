-- Our scores and the paper's, in the order of the paper's tables.
--
-- The view lists benchmarks that were measured in this home. Rows of the paper have NULL in all
-- columns after `score`.
--
-- Columns:
--   family: heading of the paper's table; NULL if the paper lacks the benchmark
--   benchmark: name of the benchmark
--   source: ours or paper
--   model: name of the model, in rows of the paper as the paper names it
--   mode: disabled or enabled (calls), or the mode of a study; NULL in rows of the paper
--   items: number of items with a score; NULL in rows of the paper
--   score: score in percent; for texts the perplexity
--   low: lower end of the 95 % interval
--   high: upper end of the 95 % interval
--   share_with_call: share of items in which a tool was called
--   share_rounded: share of items that are right only as a rounded number
--   share_beyond_two_decimals: share of items that no result of the Calculator equals; see
--     `evaluation_summary`
--   precision: floating-point format in which the model computed
--   divergence_from_base: for texts, KL divergence in nats per token; see `evaluation_summary`
with lines as (
    select
        benchmark,
        'ours' as source,
        model,
        mode,
        score_intervals.items,
        case metric when 'accuracy' then 100 else 1 end * score_intervals.score as score,
        case metric when 'accuracy' then 100 else 1 end * low as low,
        case metric when 'accuracy' then 100 else 1 end * high as high,
        score_intervals.share_with_call,
        share_rounded,
        share_beyond_two_decimals,
        precision,
        divergence_from_base,
        0 as model_place
    from score_intervals
    left join evaluation_summary using (benchmark, model, mode)
    union all
    select
        benchmark, 'paper', model, null, null, score, null, null, null, null, null, null, null,
        model_place
    from paper_results
    where benchmark in (select benchmark from score_intervals)
),

places as (
    select distinct benchmark, family, benchmark_place
    from paper_results
)

select
    family,
    benchmark,
    source,
    model,
    mode,
    items,
    score,
    low,
    high,
    share_with_call,
    share_rounded,
    share_beyond_two_decimals,
    precision,
    divergence_from_base
from lines
left join places using (benchmark)
order by benchmark_place nulls last, benchmark, source, model_place, model, mode
