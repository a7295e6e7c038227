-- The tools with kept calls in a round: how many, what decided on them, and what the calls look
-- like.
select
    filtered_calls.tool,
    count(*) as kept_calls,
    string_agg(distinct executed_calls.tool_version, ', ' order by executed_calls.tool_version)
        as versions,
    min(filtered_calls.filtering_threshold) as filtering_threshold,
    bool_or(candidate_calls.arguments <> '') as has_arguments,
    bool_and(candidate_calls.arguments <> '') as needs_arguments
from filtered_calls
inner join candidate_calls on candidate_calls.call_id = filtered_calls.call_id
inner join executed_calls on executed_calls.call_id = filtered_calls.call_id
where filtered_calls.is_kept and filtered_calls.round = $round
group by filtered_calls.tool
order by filtered_calls.tool
