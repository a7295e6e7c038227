-- The tools with kept calls in a round: how many, what decided on them, and what the calls look
-- like.
select
    tool,
    count(*) as kept_calls,
    string_agg(distinct tool_version, ', ' order by tool_version) as versions,
    min(filtering_threshold) as filtering_threshold,
    bool_or(arguments <> '') as has_arguments,
    bool_and(arguments <> '') as needs_arguments
from all_calls
where is_kept and round = $round and result is not null
group by tool
order by tool
