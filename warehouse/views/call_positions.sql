-- Where in their window calls stand, and where they are kept.
--
-- Result: tool, first_position (token; the next 31 belong to the line), scored, kept, kept_share,
-- round.
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
