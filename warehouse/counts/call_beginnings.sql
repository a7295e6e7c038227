-- How the ids of the sampled calls of each shard begin, so that a call is looked for in few files.
--
-- Result: shard, tool, round, beginnings (the first four characters of each id, parted by blanks;
-- NULL of more than 256 calls).
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
