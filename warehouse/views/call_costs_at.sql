-- What each stage of each tool cost in money, at a price per hour: call_costs_at(2.5).
--
-- Its parameter is what the machine costs an hour, in any currency.
--
-- Columns:
--   tool: name of the tool
--   stage: stage of the build, such as sampling or scoring
--   candidates: calls that the stage worked on
--   kept: calls of the tool that the filter kept
--   seconds: time that the stage took
--   money: price of these seconds
--   money_per_candidate: price of each candidate; NULL without any
--   money_per_kept: price for each kept call; NULL where none is kept
--   round: sampling round, from 1
select
    tool,
    stage,
    candidates,
    kept,
    seconds,
    money(seconds, price_per_hour) as money,
    money(seconds, price_per_hour) / nullif(candidates, 0) as money_per_candidate,
    money(seconds_per_kept, price_per_hour) as money_per_kept,
    round
from call_costs
order by round, tool, seconds desc, stage
