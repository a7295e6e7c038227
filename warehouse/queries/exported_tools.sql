-- The tools with calls in C* of a round, including calls of the previous chained round: number of
-- calls, tool versions, threshold, and whether calls have arguments.
with merged as (
    select unnest(calls, recursive := true) from augmented_texts where round = $round
)
select
    tool,
    count(distinct call_id) as calls,
    string_agg(distinct tool_version, ', ' order by tool_version) as versions,
    min(filtering_threshold) as filtering_threshold,
    bool_or(arguments <> '') as has_arguments,
    bool_and(arguments <> '') as needs_arguments
from merged
left join (select call_id, tool_version from executed_calls) using (call_id)
left join (select call_id, filtering_threshold from filtered_calls) using (call_id)
group by tool
order by tool
