-- The reductions of all calls of a round that have all three losses.
select tool, loss_reduction, filtering_threshold
from filtered_calls
where
    round = $round
    and loss_with_result is not null
    and loss_call_without_result is not null
