-- The kept calls that lower the loss most, up to a number of at most ten per tool and round.
--
-- Parameter: per_tool. Result: shard, call_id.
select shard, call_id
from best_calls
qualify row_number() over (
    partition by round, tool order by loss_reduction desc, call_id
) <= $per_tool
