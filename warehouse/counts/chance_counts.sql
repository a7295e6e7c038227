-- How much the results of other calls lower the loss, in each shard.
--
-- Result: shard, tool, round, pruning_threshold (nats), reduction_bin (`reduction_bin(nats)`,
-- hundredths; NULL where the reduction is a bound or missing), calls.
select
    shard, tool, round, pruning_threshold,
    if(reason = 'scored', reduction_bin(loss_reduction), null) as reduction_bin,
    count(*) as calls
from chance_calls
group by all
