-- Where one sampled call comes from.
--
-- Parameter: call_id. Result: its row of the view `call_provenance`.
select *
from call_provenance
where call_id = $call_id
