-- What a model does with tables that were edited under its questions, after
-- `python -m benchmarks.studies tables`.
--
-- Of the items that ask for a fact of a table; intervals of the scores are in score_intervals.
--
-- Columns:
--   benchmark: name of the benchmark
--   model: name of the model
--   items: items that were asked with the fact deleted
--   right_with_table: of these, answered right with the full table
--   right_without_calls: right with calls disabled
--   items_changed: items that were asked with the value changed
--   says_changed: of these, answers with the changed value
--   says_old: answers that are the same as with the full table, and were right there
--   right_deleted: items answered right though the rows were deleted: known, guessed, or leaked
--   answered_deleted: items in which a call of the tool that is called with the full table got a
--     result though the rows were deleted: another row answered
--   answered_low: lower end of the 95 % interval of its share of the items, in percent; NULL where
--     there are none
--   answered_high: upper end of it
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
