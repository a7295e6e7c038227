-- What stages with a model fed, and how long that took.
select shard, tool, stage, tokens_fed, seconds, round = $round as is_of_round
from stage_costs
where tokens_fed > 0
