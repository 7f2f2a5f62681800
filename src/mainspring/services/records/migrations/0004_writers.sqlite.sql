-- SQLite has one writer: who changes a collection has nobody to keep out.
SELECT 1;
