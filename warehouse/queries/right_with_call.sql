-- Questions that a model answered right with a call: first those that it answered wrong with calls
-- disabled, then the shorter ones. Answers of the Calendar are right on the day of their item only.
--
-- Parameter: model. Result: tool, prompt; the first of each tool, then the second of each, six at
-- most.
with ranked as (
    select
        answered.called_tool as tool,
        answered.prompt,
        row_number() over (
            partition by answered.called_tool
            order by coalesce(disabled.score, 0), length(answered.prompt), answered.item_id
        ) as place
    from evaluation_results as answered
    left join evaluation_results as disabled
        on disabled.benchmark = answered.benchmark
        and disabled.item_id = answered.item_id
        and disabled.model = answered.model
        and disabled.mode = 'disabled'
    where answered.model = $model
        and answered.mode = 'enabled'
        and answered.metric = 'accuracy'
        and answered.score = 1
        and answered.called_tool <> 'Calendar'
        and length(answered.prompt) <= 300
)
select tool, prompt from ranked where place <= 6 order by place, tool
