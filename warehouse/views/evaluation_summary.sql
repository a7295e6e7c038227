-- One line per benchmark, model and mode.
--
-- Result: benchmark, model, mode, items, score (weighted mean over the items that have one; for
-- the benchmark 'perplexity' its exponential), share_with_call (share of items in which a tool
-- was called).
with means as (
    select
        benchmark,
        model,
        mode,
        count(*) as items,
        sum(score * score_weight)
        / nullif(sum(score_weight) filter (where score is not null), 0) as mean_score,
        avg((called_tool is not null)::integer) as share_with_call
    from evaluation_results
    group by benchmark, model, mode
)
select
    benchmark,
    model,
    mode,
    items,
    case when benchmark = 'perplexity' then exp(mean_score) else mean_score end as score,
    share_with_call
from means
order by benchmark, model, mode
