-- The shards that the texts of the training set come from.
select distinct shard from training_texts order by shard
