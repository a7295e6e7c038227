-- How much the scored calls of each shard lower the loss: those whose reduction is known, and that
-- no contrast dropped.
--
-- Result: shard, tool, round, reductions: list of structs with reduction_bin
-- (`reduction_bin(nats)`, hundredths), calls, texts (windows whose best call is in this bin).
with scored as (
    select
        shard, tool, round,
        reduction_bin(loss_reduction) as reduction_bin,
        document_id is not null
        and row_number() over (
            partition by shard, tool, round, document_id, "window"
            order by loss_reduction desc
        ) = 1 as is_best
    from filtered_calls
    where reason in ('kept', 'below_threshold')
),
bins as (
    select
        shard, tool, round, reduction_bin,
        count(*) as calls,
        count(*) filter (where is_best) as texts
    from scored
    group by all
)
select
    shard, tool, round,
    list(
        {reduction_bin: reduction_bin, calls: calls, texts: texts} order by reduction_bin
    ) as reductions
from bins
group by shard, tool, round
