-- What lets two versions of Penstock use one database. A migration that servers of before
-- cannot work with begins with the line "-- breaks: older".

ALTER TABLE penstock_schema ADD COLUMN breaks_older boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN penstock_schema.breaks_older IS 'Older servers cannot work with what it made.';
