-- Where in their window calls stand, and where they are kept.
--
-- Columns:
--   tool: name of the tool
--   first_position: token of the window; the next 31 belong to the line too
--   scored: calls there that were given to the loss filter
--   kept: of these, kept by the filter
--   kept_share: kept of scored
--   round: sampling round, from 1
select
    tool,
    first_position,
    sum(scored)::bigint as scored,
    sum(kept)::bigint as kept,
    sum(kept) / sum(scored) as kept_share,
    round
from position_counts
group by tool, round, first_position
order by round, tool, first_position
