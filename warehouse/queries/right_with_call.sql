-- Questions that a model answered right with a call: first those that it answered wrong with calls
-- disabled, then the shorter ones. Answers of the Calendar are right on the day of their item only,
-- and a question of a chat is no beginning of a text.
--
-- Parameter: model. Result: tool, prompt; the first of each tool, then the second of each, six at
-- most.
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
