-- What stages with a model fed, and how long that took.
select shard, tool, stage, tokens_fed, seconds, round = $round as is_of_round
from cost_counts
where tokens_fed > 0
