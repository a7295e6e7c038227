-- Human judgements of kept calls, one row per judgement, read in the home's `labels.jsonl`.
--
-- A person who judges a call again adds a row; views use the newest one.
--
-- Columns:
--   label_id: random id, the key
--   labelled_at: time of the judgement (UTC, ISO 8601)
--   rater: name of the person, as given to `toolformer labels read --judge`
--   label: whether the result helps to write the following text: useful, not_useful or unsure
--   call_id: call in candidate_calls; the columns from here to text_after record what the person
--     saw
--   document_id: document that contains the call
--   tool: name of the tool as written in calls
--   arguments: arguments of the call
--   result: result of the call
--   text_before: up to 600 characters of the window before the call
--   text_after: up to 300 characters after the call
--   note: remark of the person; empty if there is none
with judgements as (
    select unnest(
        from_json(
            -- A damaged line yields no row.
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
