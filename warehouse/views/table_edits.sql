-- Answers of a model after the requested facts were deleted or changed in a tool's table.
--
-- `python -m benchmarks.studies tables` asks the items. The table score_intervals has the intervals
-- of the scores.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: name of the model
--   items: number of items that were asked with the fact deleted
--   right_with_table: number of these that the model answers right with the full table
--   right_without_calls: number of these that the model answers right with calls disabled
--   items_changed: number of items that were asked with the value changed
--   says_changed: number of these that the model answers with the changed value
--   says_old: number of these with the same right answer as with the full table
--   right_deleted: number of items that are right although the fact was deleted: the model knows or
--     guesses the answer, or the fact leaked
--   answered_deleted: number of items in which the tool gave a result although the fact was
--     deleted, because another row answered; the tool is the one called with the full table
--   answered_low: lower end of the 95 % interval of answered_deleted / items, in percent; NULL if
--     there are no items
--   answered_high: upper end of the same interval
with answers as (
    select benchmark, model, item_id, mode, score, answer, called_tool, result
    from evaluation_results
    where score is not null and mode in ('disabled', 'enabled', 'changed', 'deleted')
),
edited as (
    select *, mode as edit
    from answers
    where mode in ('changed', 'deleted')
)
select
    edited.benchmark,
    edited.model,
    count(*) filter (where edit = 'deleted') as items,
    count(*) filter (where edit = 'deleted' and whole.score = 1) as right_with_table,
    count(*) filter (where edit = 'deleted' and alone.score = 1) as right_without_calls,
    count(*) filter (where edit = 'changed') as items_changed,
    count(*) filter (where edit = 'changed' and edited.score = 1) as says_changed,
    count(*) filter (where edit = 'changed' and whole.score = 1 and edited.answer = whole.answer)
        as says_old,
    count(*) filter (where edit = 'deleted' and edited.score = 1) as right_deleted,
    count(*) filter (
        where edit = 'deleted' and edited.called_tool = whole.called_tool and edited.result is not null
    ) as answered_deleted,
    share_low(answered_deleted, items) as answered_low,
    share_high(answered_deleted, items) as answered_high
from edited
left join answers as whole
    on whole.benchmark = edited.benchmark
    and whole.model = edited.model
    and whole.item_id = edited.item_id
    and whole.mode = 'enabled'
left join answers as alone
    on alone.benchmark = edited.benchmark
    and alone.model = edited.model
    and alone.item_id = edited.item_id
    and alone.mode = 'disabled'
group by edited.benchmark, edited.model
order by edited.benchmark, edited.model
