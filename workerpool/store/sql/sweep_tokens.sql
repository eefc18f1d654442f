-- sweep_tokens: delete tokens whose lease is over. No parameters. Locks: their rows, skipping what is being renewed.
-- One row: how many there were.
SELECT {schema}.sweep_tokens() AS swept
