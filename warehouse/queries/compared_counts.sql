-- How many calls of `compared_calls` are kept by both homes or by one, and why.
--
-- Result: shard, tool, kept_by (both, first, second), why (NULL for both), calls.
select
    shard,
    tool,
    case when is_in_both then 'both' when home = 1 then 'first' else 'second' end as kept_by,
    why,
    count(*) as calls
from compared_calls
group by all
