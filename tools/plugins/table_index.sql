-- What an index of a table holds, made behind its facts. `folded` is a function of
-- tools/plugins/table_index.py.

create index facts_by_key on facts (subject, relation);

-- The subjects by the form in which names are compared.
create table subjects (folded text primary key, names text) without rowid;
with named as materialized (
    select folded(subject) as name, subject from (select distinct subject from facts)
)
insert into subjects
select name, json_group_array(subject) from named group by name;

create table relations (folded text, relation text, primary key (folded, relation)) without rowid;
insert into relations select folded(relation), relation from (select distinct relation from facts);
