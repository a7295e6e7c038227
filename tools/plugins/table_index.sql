-- What an index of a table holds, made behind its facts; `folded` and `reversed` are functions of
-- tools/plugins/table_index.py.

create index facts_by_key on facts (subject, relation);

-- The subjects by the form in which names are compared.
create table subjects (folded text, subject text, primary key (folded, subject)) without rowid;
insert into subjects select folded(subject), subject from (select distinct subject from facts)
order by 1, 2;

-- The same forms backwards, to find those that share an end.
create table ends (reversed text primary key) without rowid;
insert into ends select distinct reversed(folded) from subjects order by 1;

create table relations (folded text, relation text, primary key (folded, relation)) without rowid;
insert into relations select folded(relation), relation from (select distinct relation from facts);
