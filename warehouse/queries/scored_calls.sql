-- The reductions of all calls of a round that have all three losses, but for those that a contrast
-- threshold dropped: no filtering threshold keeps these.
select tool, loss_reduction, filtering_threshold
from filtered_calls
where
    round = $round
    and loss_with_result is not null
    and loss_call_without_result is not null
    and reason not in ('below_contrast', 'no_foreign_result')
