-- Gain of a model with calls over itself without calls and over the controls. The controls were
-- trained on the same texts: $plain without calls, $shuffled with swapped results. $model, $plain
-- and $shuffled are names of models in the results.
--
-- Result, for items that both answered: benchmark, against, items, share_with_call (of the model's
-- answers), score and score_of_other (in percent), difference, low, high (percentage points, 95 %
-- interval), p_value, verdict.
select
    gained.benchmark,
    case gained.other_model when $model then 'its calls disabled' else gained.other_model end
        as against,
    gained.items,
    avg((own.called_tool is not null)::integer) as share_with_call,
    100 * avg(own.score) as score,
    100 * avg(other.score) as score_of_other,
    gained.difference,
    gained.low,
    gained.high,
    gained.p_value,
    gained.verdict
from evaluation_difference as gained
inner join evaluation_results as own using (benchmark, model, mode)
inner join evaluation_results as other
    on
        gained.benchmark = other.benchmark
        and gained.other_model = other.model
        and gained.other_mode = other.mode
        and own.item_id = other.item_id
        -- Items of the same id can be different questions.
        and own.prompt = other.prompt
        and own.gold = other.gold
where
    own.score + other.score is not null
    and gained.model = $model
    and gained.mode = 'enabled'
    and (
        gained.other_model in ($model, $plain) and gained.other_mode = 'disabled'
        or gained.other_model = $shuffled and gained.other_mode = 'enabled'
    )
group by
    gained.benchmark, gained.other_model, gained.items, gained.difference, gained.low, gained.high,
    gained.p_value, gained.verdict
order by gained.benchmark, list_position([$model, $plain, $shuffled], gained.other_model)
