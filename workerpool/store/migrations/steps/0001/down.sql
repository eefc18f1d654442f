-- Back to nothing: every object of the schema, not the schema itself (it may be the user's, and holds the version table).
DROP VIEW {schema}.safe_state, {schema}.pause_metrics, {schema}.active_counts, {schema}.running_revisions, {schema}.stuck_revisions, {schema}.item_status, {schema}.queue_status;
DROP TABLE {schema}.tallies, {schema}.receipts, {schema}.api_tokens, {schema}.agents, {schema}.llm_providers, {schema}.webhook_deliveries, {schema}.schedules, {schema}.continuations,
    {schema}.work_tokens, {schema}.control_events, {schema}.pause_state, {schema}.pauses, {schema}.workers,
    {schema}.execution_log, {schema}.items, {schema}.revisions;
DROP FUNCTION {schema}.remote_seen, {schema}.remote_claim, {schema}.then_enqueue, {schema}.purge, {schema}.unhalt, {schema}.halt, {schema}.edit, {schema}.queue_drafts,
    {schema}.retry, {schema}.carry_out_cancels, {schema}.cancel, {schema}.heal, {schema}.dismiss, {schema}.turn, {schema}.settle,
    {schema}.fire, {schema}.final_verdict, {schema}.parked_heads, {schema}.lock_items, {schema}.unpark,
    {schema}.payload_to_send, {schema}.park_line, {schema}.handler_lock, {schema}.item_lock, {schema}.schedule_revision, {schema}.wake_hungry, {schema}.replace_run_at,
    {schema}.tell_cancel, {schema}.keep_terminal, {schema}.append_only, {schema}.pause_lock, {schema}.may_work, {schema}.take_pause_lock,
    {schema}.who, {schema}.pauses_changed, {schema}.pause_by_hand, {schema}.pause, {schema}.resume, {schema}.lift_pauses, {schema}.hold,
    {schema}.go_on, {schema}.acknowledge_pause, {schema}.activate_token, {schema}.renew_tokens, {schema}.release_token,
    {schema}.sweep_tokens;
DROP SEQUENCE {schema}.fence;
DROP DOMAIN {schema}.item_name, {schema}.handler_name, {schema}.revision_status, {schema}.parking, {schema}.failure_kind,
    {schema}.whole_number, {schema}.positive_number, {schema}.seconds, {schema}.percentage;
