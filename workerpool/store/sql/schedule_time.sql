-- schedule_time: the time of the database. No parameters, no locks. One row.
SELECT clock_timestamp() AS now
