-- Costs per shard, tool, round and stage.
--
-- Result: shard, tool, round, stage, candidates, tokens_fed, seconds.
select
    shard, tool, round, stage,
    sum(candidates)::bigint as candidates,
    sum(tokens_fed)::bigint as tokens_fed,
    sum(seconds) as seconds
from stage_costs
group by all
