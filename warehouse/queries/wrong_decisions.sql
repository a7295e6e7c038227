-- How many stored decisions differ from the one that the losses give.
select count(*) as wrong
from filtered_calls
where
    loss_call_without_result is not null
    and is_kept <> (
        reaches(
            least(loss_without_call, loss_call_without_result) - loss_with_result,
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
