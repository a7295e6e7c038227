-- Indexes of a table's facts, created after the facts are inserted. tools/plugins/table_index.py
-- defines the function `folded`.

create index facts_by_key on facts (subject, relation);

-- Subjects by folded name, the form in which names are compared.
create table subjects (folded text primary key, names text) without rowid;
with named as materialized (
    select folded(subject) as name, subject from (select distinct subject from facts)
)
insert into subjects
select name, json_group_array(subject) from named group by name;

create table relations (folded text, relation text, primary key (folded, relation)) without rowid;
insert into relations select folded(relation), relation from (select distinct relation from facts);
