-- How many texts are not trained on, by reason.
--
-- Result: reason, held_out_set (of shares_ngram: the benchmark, or held_out_shards), texts, of
-- these plain_texts (windows without calls), mean_similarity (of near_duplicate).
select
    reason,
    held_out_set,
    count(*) as texts,
    count(*) filter (where calls = 0) as plain_texts,
    avg(similarity) as mean_similarity
from training_exclusions
group by reason, held_out_set
order by texts desc, reason, held_out_set
