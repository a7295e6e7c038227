-- What stages fed to a model, and how long they took, in shards that they had work in.
select shard, tool, stage, tokens_fed, seconds, round = $round as is_of_round
from cost_counts
where tokens_fed > 0 or candidates > 0
