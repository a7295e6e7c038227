-- What each tool's calls cost in each round, and what that is for each call that was kept.
--
-- Result: round, tool, candidates, kept, tokens_fed, seconds, tokens_per_candidate,
-- seconds_per_kept (NULL where none is kept).
select
    round,
    tool,
    candidates,
    kept,
    tokens_fed,
    seconds,
    tokens_fed / nullif(candidates, 0) as tokens_per_candidate,
    seconds / nullif(kept, 0) as seconds_per_kept
from call_statistics
order by round, tool
