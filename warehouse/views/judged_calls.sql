-- Human judgements of kept calls: the newest label per person and call.
--
-- A label counts if C* has a call with the same id, arguments and result, in a window that contains
-- the text that the person saw.
--
-- Columns:
--   call_id: id of the call
--   tool: name of the tool
--   round: annotation round, from 1
--   rater: name of the person
--   label: useful, not_useful or unsure
--   loss_reduction: present loss reduction of the call, in nats
select call_id, tool, round, rater, arg_max(label, labelled_at) as label, loss_reduction
from (
    select text, round, unnest(calls, recursive := true) from augmented_texts
    where document_id in (select document_id from labels)
)
inner join labels using (call_id, tool, arguments, result)
where contains(text, text_before || text_after)
group by all
