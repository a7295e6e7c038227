-- The results that the tools give most often, 20 of each tool and round.
--
-- Summed over the 20 most frequent of each shard, like top_arguments.
--
-- Columns:
--   tool: name of the tool
--   result: its first 200 characters
--   calls: executed calls with this result
--   share: of the tool's executed calls
--   round: sampling round, from 1
with executed as (
    select tool, round, sum(calls) as all_calls from execution_counts
    where status = 'executed'
    group by tool, round
)
select tool, result, sum(calls)::bigint as calls, sum(calls) / any_value(all_calls) as share, round
from result_counts
inner join executed using (tool, round)
group by tool, round, result
qualify row_number() over (partition by tool, round order by sum(calls) desc, result) <= 20
order by round, tool, calls desc, result
