-- How many stored decisions differ from the one that the three losses give.
select count(*) as wrong
from filtered_calls
where
    loss_call_without_result is not null
    and is_kept <> reaches(
        least(loss_without_call, loss_call_without_result) - loss_with_result,
        filtering_threshold
    )
