-- Calls of `compared_calls` that only one of two homes keeps, with the text around them. Homes and
-- reasons alternate, the most helpful calls first.
--
-- Parameter: examples (number of calls). Result: columns of `compared_calls`, text_before and
-- text_after (up to 120 characters each).
with chosen as (
    select *, row_number() over (partition by home, why order by loss_reduction desc, call_id) as place
    from compared_calls
    where why is not null
    order by place, home, why
    limit $examples
)
select
    chosen.* exclude (place, home, document_id, character_offset),
    substring(text, greatest(character_offset - 119, 1), least(character_offset, 120)) as text_before,
    substring(text, character_offset + 1, 120) as text_after
from chosen
inner join documents using (home, document_id)
order by place, home, why
