-- Our scores and the paper's, in the order of the paper's tables. Only benchmarks that were
-- measured here are listed.
--
-- Columns:
--   family: heading of the paper's table; NULL for what the paper does not have
--   benchmark: name of the benchmark
--   source: ours or paper
--   model: its name here, or the paper's
--   mode: mode of ours: disabled or enabled (calls), or that of a study
--   items: items with a score, of ours
--   score: in percent, of texts the perplexity
--   low: lower end of the 95 % interval, of ours
--   high: upper end of it
--   share_with_call: of ours, share of items in which a tool was called
--   share_rounded: of ours, share of items that are right only as a rounded number
--   share_beyond_two_decimals: of ours, share of items that no call of the Calculator equals; see
--     `evaluation_summary`
--   precision: precision that the model computed in, of ours
--   divergence_from_base: of ours, of texts; in nats per token, see `evaluation_summary`
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
