-- Back to nothing: every object of the schema, not the schema itself (it may be the user's, and holds the version table).
DROP VIEW {schema}.safe_state, {schema}.active_counts, {schema}.stuck_revisions, {schema}.item_status, {schema}.queue_status;
DROP TABLE {schema}.agents, {schema}.llm_providers, {schema}.webhook_deliveries, {schema}.schedules, {schema}.continuations,
    {schema}.work_tokens, {schema}.control_events, {schema}.pause_state, {schema}.pauses, {schema}.workers,
    {schema}.execution_log, {schema}.items, {schema}.revisions;
DROP FUNCTION {schema}.then_enqueue, {schema}.purge, {schema}.unhalt, {schema}.halt, {schema}.edit, {schema}.queue_drafts,
    {schema}.retry, {schema}.carry_out_cancels, {schema}.cancel, {schema}.heal, {schema}.dismiss, {schema}.turn, {schema}.settle,
    {schema}.fire, {schema}.final_verdict, {schema}.claim, {schema}.parked_heads, {schema}.lock_items, {schema}.unpark,
    {schema}.handler_lock, {schema}.item_lock, {schema}.schedule_revision, {schema}.wake_hungry, {schema}.replace_run_at,
    {schema}.tell_cancel, {schema}.keep_terminal, {schema}.append_only;
DROP SEQUENCE {schema}.fence;
DROP DOMAIN {schema}.item_name, {schema}.handler_name, {schema}.revision_status, {schema}.parking, {schema}.failure_kind,
    {schema}.whole_number, {schema}.positive_number, {schema}.seconds, {schema}.percentage;
