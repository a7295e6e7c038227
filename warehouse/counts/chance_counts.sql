-- How much the results of other calls lower the loss, in each shard.
--
-- Result: shard, tool, round, pruning_threshold (nats), reduction_bin (`reduction_bin(nats)`,
-- hundredths; NULL where the reduction is a bound or missing), contrast_bin (the same of what a
-- second result of another call helps less; NULL where it was not scored), has_second_result
-- (whether there is one), calls.
select
    shard, tool, round, pruning_threshold,
    if(reason = 'scored', reduction_bin(loss_reduction), null) as reduction_bin,
    reduction_bin(loss_with_second_result - loss_with_result) as contrast_bin,
    second_call_id is not null as has_second_result,
    count(*) as calls
from chance_calls
group by all
