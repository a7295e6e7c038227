-- What each stage of each tool cost, and what that is for a candidate and for a kept call.
--
-- Result: tool, stage, candidates (calls that the stage worked on), kept (by the filter, of the
-- tool), tokens_fed, seconds, tokens_per_candidate, tokens_per_kept, seconds_per_kept (NULL where
-- none is kept), round.
with
kept as (
    select tool, round, sum(calls)::bigint as kept from decision_counts
    where reason = 'kept'
    group by tool, round
)
select
    tool,
    stage,
    sum(candidates)::bigint as candidates,
    coalesce(any_value(kept), 0) as kept,
    sum(tokens_fed)::bigint as tokens_fed,
    sum(seconds) as seconds,
    sum(tokens_fed) / nullif(sum(candidates), 0) as tokens_per_candidate,
    sum(tokens_fed) / any_value(kept) as tokens_per_kept,
    sum(seconds) / any_value(kept) as seconds_per_kept,
    round
from cost_counts
left join kept using (tool, round)
group by tool, round, stage
order by round, tool, seconds desc, stage
