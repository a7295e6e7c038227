-- What each stage of each tool cost, and what that is for a candidate and for a kept call.
--
-- Columns:
--   tool: name of the tool
--   stage: stage of the build, such as sampling or scoring
--   candidates: calls that the stage worked on
--   kept: calls of the tool that the filter kept
--   tokens_fed: tokens that the model read
--   seconds: time that the stage took
--   tokens_per_candidate: tokens_fed of each candidate; NULL without any
--   tokens_per_kept: tokens_fed for each kept call; NULL where none is kept
--   seconds_per_kept: seconds for each kept call; NULL where none is kept
--   round: sampling round, from 1
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
