-- Who wrote the calls in the texts of a round, or in the training set if the round is NULL.
with texts as (
    select calls from augmented_texts where round = $round
    union all
    select calls from training_texts where $round is null and split = 'train'
),
inserted as (select unnest(calls, recursive := true) from texts)
select
    case
        when proposed = 'call' then 'rules of the tools'
        else coalesce('the model `' || model || '`', 'an unknown model')
    end as writer,
    count(*) as calls
from inserted
left join (select call_id, shard, round, proposed from candidate_calls) using (call_id)
left join (
    select shard, tool, round, model from stage_costs where stage = 'sampling'
) using (shard, tool, round)
group by writer
order by calls desc, writer
