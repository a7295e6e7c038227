-- The shards from which the texts of the training set come.
select distinct shard from training_texts order by shard
