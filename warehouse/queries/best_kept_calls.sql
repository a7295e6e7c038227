-- The most helpful kept calls of given tools and rounds.
--
-- Parameters: per_tool (number of calls per pair, at most ten); rounds and tools (lists of equal
-- length that form pairs). Result: shard, call_id.
select shard, call_id
from best_calls
where (round, tool) in (select unnest($rounds::integer[]), unnest($tools::varchar[]))
qualify row_number() over (
    partition by round, tool order by own_gain desc, call_id
) <= $per_tool
