-- The arguments that the model writes most often, 20 of each tool and round.
--
-- Summed over the 20 most frequent of each shard: exact for what is frequent in every shard, too
-- small else.
--
-- Columns:
--   tool: name of the tool
--   arguments: as the model wrote them
--   calls: candidates with these arguments
--   share: of the tool's candidates
--   round: sampling round, from 1
with candidates as (
    select tool, round, sum(calls) as all_calls from candidate_counts
    where status = 'parsed'
    group by tool, round
)
select tool, arguments, sum(calls)::bigint as calls, sum(calls) / any_value(all_calls) as share, round
from argument_counts
inner join candidates using (tool, round)
group by tool, round, arguments
qualify row_number() over (partition by tool, round order by sum(calls) desc, arguments) <= 20
order by round, tool, calls desc, arguments
