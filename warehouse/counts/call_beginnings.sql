-- Prefixes of the ids of sampled calls, so that a call is looked for in few files.
--
-- Result: shard, tool, round, beginnings (the first four characters of each id, separated by
-- blanks; NULL if there are more than 256 calls).
select
    shard,
    tool,
    round,
    case
        when count(*) <= 256
            then array_to_string(list_sort(list(distinct left(call_id, 4))), ' ')
    end as beginnings
from candidate_calls
group by all
