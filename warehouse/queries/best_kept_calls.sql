-- Of some tools and rounds the kept calls whose own result helps most, up to a number of at most ten
-- for each.
--
-- Parameters: per_tool; rounds and tools, which belong together in pairs. Result: shard, call_id.
select shard, call_id
from best_calls
where (round, tool) in (select unnest($rounds::integer[]), unnest($tools::varchar[]))
qualify row_number() over (
    partition by round, tool order by own_gain desc, call_id
) <= $per_tool
