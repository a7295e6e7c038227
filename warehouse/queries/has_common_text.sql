-- A row where two homes have a text in common.
select 1 from documents
inner join documents as other using (document_id)
where documents.home = 1 and other.home = 2
limit 1
