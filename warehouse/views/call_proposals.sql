-- What the proposals of tools are worth: candidates for each kept call, by how they came about.
--
-- Columns:
--   tool: name of the tool
--   proposed: none (p(` [`) chose the position), position (the tool did), or call (it also gave the
--     arguments)
--   candidates: parsed and distinct calls
--   scored: of these, given to the loss filter
--   kept: of these, kept by it
--   candidates_per_kept: candidates for each kept call; NULL where none is kept
--   round: sampling round, from 1
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
