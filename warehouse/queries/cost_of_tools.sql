-- Cost of each tool's calls in each round, in total and per kept call.
--
-- Result: round, tool, candidates, kept, tokens_fed, seconds, tokens_per_candidate,
-- seconds_per_kept (NULL if none was kept).
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
