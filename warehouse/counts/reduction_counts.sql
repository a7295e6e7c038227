-- Histogram of the loss reductions of scored calls per shard, tool and round. It has the calls with
-- a known reduction that reach the contrast threshold, if any, and the chance sample with swapped
-- results.
--
-- Result: shard, tool, round, reductions: list of structs with reduction_bin
-- (`reduction_bin(nats)`, hundredths), calls, texts (windows whose best call is in this bin),
-- chance_calls (calls of the chance sample).
with
scored as (
    select
        shard, tool, round,
        reduction_bin(loss_reduction) as reduction_bin,
        row_number() over (
            partition by shard, tool, round, document_id, window_index order by loss_reduction desc
        ) = 1 as is_best,
        false as is_by_chance
    from filtered_calls
    where
        reason in ('kept', 'below_threshold')
        and (contrast_threshold is null or coalesce(reaches(contrast, contrast_threshold), false))
    union all
    select shard, tool, round, reduction_bin(chance_reduction), false, true
    from filtered_calls
    where
        is_kept_by_chance is not null
        and chance_reduction is not null
        and tokens_used > 0
        and (
            contrast_threshold is null
            or coalesce(reaches(chance_contrast, contrast_threshold), false)
        )
),
bins as (
    select
        shard, tool, round, reduction_bin,
        count(*) filter (where not is_by_chance) as calls,
        count(*) filter (where is_best) as texts,
        count(*) filter (where is_by_chance) as chance_calls
    from scored
    group by all
)
select
    shard, tool, round,
    list(
        {reduction_bin: reduction_bin, calls: calls, texts: texts, chance_calls: chance_calls}
        order by reduction_bin
    ) as reductions
from bins
group by shard, tool, round
