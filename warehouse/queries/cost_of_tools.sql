-- What each tool's calls cost in each round, and what that is for each call that was kept.
--
-- Parameter: price_per_hour (NULL where there is none). Result: round, tool, candidates, kept,
-- tokens_fed, seconds, tokens_per_candidate, seconds_per_kept (NULL where none is kept), money,
-- money_per_candidate, money_per_kept (NULL without a price).
select
    round,
    tool,
    candidates,
    kept,
    tokens_fed,
    seconds,
    tokens_fed / nullif(candidates, 0) as tokens_per_candidate,
    seconds / nullif(kept, 0) as seconds_per_kept,
    money(seconds, $price_per_hour::double) as money,
    money(seconds / nullif(candidates, 0), $price_per_hour::double) as money_per_candidate,
    money(seconds / nullif(kept, 0), $price_per_hour::double) as money_per_kept
from call_statistics
order by round, tool
