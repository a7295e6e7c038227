-- Questions that a model answered right with a call: first those that it answered wrong with calls
-- disabled, then shorter ones. Calendar questions are left out, since their answers are right only
-- on the day of the item, and so are chat benchmarks, whose questions do not begin a text.
--
-- Parameter: model. Result: tool, prompt; the first question of each tool, then the second of each,
-- up to six.
with ranked as (
    select
        called_tool as tool,
        prompt,
        row_number() over (
            partition by called_tool order by score_without_calls, length(prompt), item_id
        ) as place
    from answers_with_calls
    where model = $model
        and mode = 'enabled'
        and score = 1
        and called_tool <> 'Calendar'
        and benchmark not like '%-chat'
        and length(prompt) <= 300
)
select tool, prompt from ranked where place <= 6 order by place, tool
