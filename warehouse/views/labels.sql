-- Judgements of people on kept calls, one row per judgement, from `labels.jsonl` in the home. A
-- person who judges a call again adds a row; the newest one counts in the views.
--
-- Columns:
--   label_id: random; the key
--   labelled_at: when (UTC, ISO 8601)
--   rater: name of the person, as given to `toolformer labels read --judge`
--   label: whether the result helps to write what follows: useful, not_useful or unsure
--   call_id: call of candidate_calls; this and the columns below say what the person saw
--   document_id: document that the call stands in
--   tool: name of the tool as written in calls
--   arguments: arguments of the call
--   result: result of the call
--   text_before: up to 600 characters of its window before the call
--   text_after: up to 300 characters after the call
--   note: remark of the person; empty without one
with judgements as (
    select unnest(
        from_json(
            -- A damaged line holds no row.
            case when json_valid(line) then line end,
            '{
                "label_id": "varchar", "labelled_at": "varchar", "rater": "varchar",
                "label": "varchar", "call_id": "varchar", "document_id": "varchar",
                "tool": "varchar", "arguments": "varchar", "result": "varchar",
                "text_before": "varchar", "text_after": "varchar", "note": "varchar"
            }'
        )
    )
    from label_lines
)
select * replace (coalesce(note, '') as note)
from judgements
where columns(* exclude (note)) is not null and label in ('useful', 'not_useful', 'unsure')
