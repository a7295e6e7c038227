-- Stored decisions that differ from the one that the losses give.
-- Result: shard, calls; no row where there is none.
select shard, count(*) as calls
from filtered_calls
where
    loss_with_result is not null
    and (loss_call_without_result is not null or baseline = 'without_call')
    and is_kept <> (
        reaches(
            -- `least` leaves a NULL out.
            least(
                loss_without_call,
                if(baseline = 'without_call', null, loss_call_without_result)
            ) - loss_with_result,
            filtering_threshold
        )
        and (
            contrast_threshold is null
            or coalesce(
                isfinite(loss_with_foreign_result)
                and reaches(loss_with_foreign_result - loss_with_result, contrast_threshold),
                false
            )
        )
    )
group by shard
order by shard
