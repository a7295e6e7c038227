-- What $rater has judged: call_id, arguments, result, seen (the text around the call).
select call_id, arguments, result, text_before || text_after as seen from labels where rater = $rater
