-- Number of candidates per kept call, by what the tool proposed.
--
-- Columns:
--   tool: name of the tool
--   proposed: none (p(` [`) chose the position), position (the tool chose it), or call (the tool
--     also wrote the arguments)
--   candidates: number of parsed and distinct calls
--   scored: number of these that were scored by the loss filter
--   kept: number of these that the filter kept
--   candidates_per_kept: number of candidates per kept call; NULL if none was kept
--   round: annotation round, from 1
with
candidates as (
    select tool, round, proposed, sum(calls)::bigint as candidates
    from candidate_counts
    where status = 'parsed'
    group by tool, round, proposed
),
decided as (
    select
        tool,
        round,
        proposed,
        sum(calls)::bigint as scored,
        sum(calls) filter (where reason = 'kept')::bigint as kept
    from decision_counts
    group by tool, round, proposed
)
select
    tool,
    proposed,
    candidates,
    coalesce(scored, 0) as scored,
    coalesce(kept, 0) as kept,
    candidates / kept as candidates_per_kept,
    round
from candidates
left join decided using (tool, round, proposed)
order by round, tool, proposed
