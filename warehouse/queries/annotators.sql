-- The models that annotated the corpus in a round.
select distinct model, precision
from stage_costs
where round = $round and stage = 'sampling' and model is not null
order by model, precision
