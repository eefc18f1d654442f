-- Back to 0001: requests that nobody has carried out are forgotten.
ALTER TABLE {schema}.workers DROP COLUMN stop_asked;
