-- What \d+ says: every table, view, column and function explains itself.

COMMENT ON TABLE {schema}.revisions IS
'Ordered changes to items: one row is one unit of work. INSERT with item_key and payload is a complete enqueue. Revisions of one item run one at a time by id; different items run in parallel. Finished rows do not change.';
COMMENT ON COLUMN {schema}.revisions.id IS 'The order inside an item.';
COMMENT ON COLUMN {schema}.revisions.item_key IS 'What this revision belongs to: its ordering key, 1 to 512 characters.';
COMMENT ON COLUMN {schema}.revisions.handler IS 'Which handler performs it.';
COMMENT ON COLUMN {schema}.revisions.payload IS 'Input for the handler.';
COMMENT ON COLUMN {schema}.revisions.status IS
'draft (not queued yet), scheduled (waits for run_at), pending (waits for its turn), processing (a worker has it), or an end: completed, failed, cancelled. A future run_at at insert makes a pending row scheduled.';
COMMENT ON COLUMN {schema}.revisions.priority IS 'Higher goes first, between items; it never reorders inside an item.';
COMMENT ON COLUMN {schema}.revisions.run_at IS 'Not before. Of a retry: the end of its back-off.';
COMMENT ON COLUMN {schema}.revisions.parked IS
'Pending, and out of the way of claims: behind (another of its item runs or comes first, or the item is halted) or due (backs off until run_at). Null: a candidate. Kept by the queue.';
COMMENT ON COLUMN {schema}.revisions.attempt IS 'Attempts started and not given back unharmed.';
COMMENT ON COLUMN {schema}.revisions.max_attempts IS 'Their limit. Null: the handler''s, else 3.';
COMMENT ON COLUMN {schema}.revisions.crash_count IS
'Attempts that took their worker with them; WORKERPOOL_MAX_CRASHES of them end the revision as poison.';
COMMENT ON COLUMN {schema}.revisions.worker_id IS 'Who has it, or had it last: manager/slot.generation.';
COMMENT ON COLUMN {schema}.revisions.claim_token IS
'Made by each claim. Whatever an attempt writes must match it while the status is processing: the fence.';
COMMENT ON COLUMN {schema}.revisions.lease_expires_at IS 'Until when the attempt is nobody else''s, by the database''s clock.';
COMMENT ON COLUMN {schema}.revisions.fence IS 'Rises with each claim, for every item: for use outside the database.';
COMMENT ON COLUMN {schema}.revisions.cancel_requested_at IS 'Somebody asked for its end; the pool carries it out.';
COMMENT ON COLUMN {schema}.revisions.timeout_seconds IS 'Limit of an attempt. Null: the handler''s, else WORKERPOOL_TIMEOUT.';
COMMENT ON COLUMN {schema}.revisions.progress_percentage IS 'Progress that the handler reported, 0 to 100; kept across retries.';
COMMENT ON COLUMN {schema}.revisions.current_step IS 'What the handler said it is doing.';
COMMENT ON COLUMN {schema}.revisions.total_steps IS 'How many steps the handler said there are.';
COMMENT ON COLUMN {schema}.revisions.result IS
'What the handler returned. The result of an item''s completed revision with the highest number is the item''s current content.';
COMMENT ON COLUMN {schema}.revisions.error_message IS 'Why the last attempt that failed did so.';
COMMENT ON COLUMN {schema}.revisions.error_kind IS 'Of that failure: error, timeout, crash, poison, invalid_payload, cancelled.';
COMMENT ON COLUMN {schema}.revisions.dedupe_key IS 'Unique among the unfinished revisions of an item, if given.';
COMMENT ON COLUMN {schema}.revisions.metadata IS 'Where it came from: source, delivery id, trace context.';
COMMENT ON COLUMN {schema}.revisions.revision_number IS 'Place in the item''s history, given at completion: 1, 2, 3 and so on.';
COMMENT ON COLUMN {schema}.revisions.created_at IS 'When it was inserted.';
COMMENT ON COLUMN {schema}.revisions.started_at IS 'When its last attempt was claimed.';
COMMENT ON COLUMN {schema}.revisions.completed_at IS 'When it ended, in whichever way.';
COMMENT ON COLUMN {schema}.revisions.updated_at IS 'When its status last changed.';
COMMENT ON COLUMN {schema}.revisions.actual_duration IS 'completed_at - started_at.';

COMMENT ON TABLE {schema}.items IS
'Items that need a row: with an original content, or halted. An item without a row is an ordinary item.';
COMMENT ON COLUMN {schema}.items.item_key IS 'As in revisions.';
COMMENT ON COLUMN {schema}.items.original IS 'Its content before the first revision.';
COMMENT ON COLUMN {schema}.items.halted_at IS 'Since when nothing of it is started. Null: it is not halted.';
COMMENT ON COLUMN {schema}.items.halt_reason IS 'Why it is halted.';
COMMENT ON COLUMN {schema}.items.created_at IS 'When this row was made.';

COMMENT ON TABLE {schema}.execution_log IS 'What happened during the attempts of revisions: handlers'' words and output, failures.';
COMMENT ON COLUMN {schema}.execution_log.id IS 'Their order.';
COMMENT ON COLUMN {schema}.execution_log.revision_id IS 'The revision.';
COMMENT ON COLUMN {schema}.execution_log.attempt IS 'Which of its attempts.';
COMMENT ON COLUMN {schema}.execution_log.at IS 'When.';
COMMENT ON COLUMN {schema}.execution_log.level IS 'debug, info, warning or error.';
COMMENT ON COLUMN {schema}.execution_log.message IS 'One line of text.';
COMMENT ON COLUMN {schema}.execution_log.data IS 'What else is known, as fields.';

COMMENT ON TABLE {schema}.workers IS 'Worker processes of all hosts, each generation with a row of its own. Kept by the keepers.';
COMMENT ON COLUMN {schema}.workers.id IS 'manager/slot.generation, such as web1/4711-c0ffee/W1.3.';
COMMENT ON COLUMN {schema}.workers.manager_id IS 'The manager whose child it is: host/pid-random.';
COMMENT ON COLUMN {schema}.workers.host IS 'Where it runs.';
COMMENT ON COLUMN {schema}.workers.slot IS 'Its manager''s numbered place: W1, W2 and so on.';
COMMENT ON COLUMN {schema}.workers.generation IS 'The running number of the process in that slot.';
COMMENT ON COLUMN {schema}.workers.worker_pid IS 'Its process id on its host; 0: it speaks HTTP.';
COMMENT ON COLUMN {schema}.workers.handlers IS 'What it can perform; it claims nothing else.';
COMMENT ON COLUMN {schema}.workers.halting IS 'Those of its handlers whose failed revision halts its item.';
COMMENT ON COLUMN {schema}.workers.limits IS 'Of its handlers that have such a limit: how many may run at once, on all hosts.';
COMMENT ON COLUMN {schema}.workers.state IS 'starting, idle (hungry: to be notified), busy, paused, stopping, gone.';
COMMENT ON COLUMN {schema}.workers.is_active IS 'state is not gone.';
COMMENT ON COLUMN {schema}.workers.current_revision_id IS 'What it is running.';
COMMENT ON COLUMN {schema}.workers.pause_version IS 'The version of pause_state that it has seen.';
COMMENT ON COLUMN {schema}.workers.last_heartbeat IS 'When its keeper last saw it alive.';
COMMENT ON COLUMN {schema}.workers.started_at IS 'When it came up.';
COMMENT ON COLUMN {schema}.workers.processed_count IS 'How many attempts it has performed.';
COMMENT ON COLUMN {schema}.workers.restart_count IS 'How often its slot had to be restarted.';
COMMENT ON COLUMN {schema}.workers.rss_bytes IS 'Its resident memory.';

COMMENT ON TABLE {schema}.pauses IS 'Who holds the pool back, and why: one row for each pause in force.';
COMMENT ON COLUMN {schema}.pauses.id IS 'Its number.';
COMMENT ON COLUMN {schema}.pauses.scope IS 'all, handler:NAME or host:NAME.';
COMMENT ON COLUMN {schema}.pauses.mode IS 'drain (claim nothing) or quiesce (and hold running revisions at a checkpoint).';
COMMENT ON COLUMN {schema}.pauses.reason IS 'Why.';
COMMENT ON COLUMN {schema}.pauses.actor IS 'Who asked for it.';
COMMENT ON COLUMN {schema}.pauses.holder IS 'Whose it is to take away: a holder has at most one of a scope.';
COMMENT ON COLUMN {schema}.pauses.requested_at IS 'When.';
COMMENT ON COLUMN {schema}.pauses.until IS 'When it ends by itself. Null: never.';

COMMENT ON TABLE {schema}.pause_state IS 'One row: whether the whole pool is paused, the union of the pauses of scope all.';
COMMENT ON COLUMN {schema}.pause_state.id IS '1.';
COMMENT ON COLUMN {schema}.pause_state.paused IS 'Whether nothing may be claimed.';
COMMENT ON COLUMN {schema}.pause_state.mode IS 'The strictest mode in force.';
COMMENT ON COLUMN {schema}.pause_state.reason IS 'Why.';
COMMENT ON COLUMN {schema}.pause_state.actor IS 'Who asked for it.';
COMMENT ON COLUMN {schema}.pause_state.requested_at IS 'When.';
COMMENT ON COLUMN {schema}.pause_state.updated_at IS 'When this row last changed.';
COMMENT ON COLUMN {schema}.pause_state.version IS 'Rises with each change of any pause; workers say which one they have seen.';
COMMENT ON COLUMN {schema}.pause_state.scopes IS 'The handlers and hosts that are paused beside, as handler:NAME and host:NAME.';

COMMENT ON TABLE {schema}.control_events IS 'What operators did: append only.';
COMMENT ON COLUMN {schema}.control_events.id IS 'Their order.';
COMMENT ON COLUMN {schema}.control_events.control IS 'What was acted on: revision, item or pool.';
COMMENT ON COLUMN {schema}.control_events.action IS 'What was done.';
COMMENT ON COLUMN {schema}.control_events.mode IS 'In which mode, where there are several.';
COMMENT ON COLUMN {schema}.control_events.reason IS 'Why.';
COMMENT ON COLUMN {schema}.control_events.actor IS 'Who did it.';
COMMENT ON COLUMN {schema}.control_events.target IS 'To which one: a revision''s id, an item''s key.';
COMMENT ON COLUMN {schema}.control_events.created_at IS 'When.';

COMMENT ON TABLE {schema}.work_tokens IS 'Counted rights to be active, held by code that must not be disturbed.';
COMMENT ON COLUMN {schema}.work_tokens.id IS 'The token.';
COMMENT ON COLUMN {schema}.work_tokens.kind IS 'orchestrator or background_worker.';
COMMENT ON COLUMN {schema}.work_tokens.holder IS 'Who has it.';
COMMENT ON COLUMN {schema}.work_tokens.host IS 'On which host.';
COMMENT ON COLUMN {schema}.work_tokens.pid IS 'In which process.';
COMMENT ON COLUMN {schema}.work_tokens.acquired_at IS 'Since when.';
COMMENT ON COLUMN {schema}.work_tokens.expires_at IS 'Until when, unless renewed.';

COMMENT ON TABLE {schema}.continuations IS 'Revisions to be enqueued when another one ends, in the same transaction.';
COMMENT ON COLUMN {schema}.continuations.id IS 'Their order.';
COMMENT ON COLUMN {schema}.continuations.revision_id IS 'The revision that must end.';
COMMENT ON COLUMN {schema}.continuations.fires_on IS 'With which end: completed, failed, cancelled or any.';
COMMENT ON COLUMN {schema}.continuations.item_key IS 'The item of what is enqueued.';
COMMENT ON COLUMN {schema}.continuations.handler IS 'Its handler.';
COMMENT ON COLUMN {schema}.continuations.payload IS 'Its payload.';
COMMENT ON COLUMN {schema}.continuations.attempt IS 'The attempt that asked for it; null: somebody outside. Only those of the latest such attempt are enqueued.';
COMMENT ON COLUMN {schema}.continuations.enqueued_id IS 'The revision that it became.';
COMMENT ON COLUMN {schema}.continuations.created_at IS 'When it was asked for.';

COMMENT ON TABLE {schema}.schedules IS 'Revisions that are enqueued again and again.';
COMMENT ON COLUMN {schema}.schedules.name IS 'Its name.';
COMMENT ON COLUMN {schema}.schedules.cron IS 'When: five fields of cron, six with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly.';
COMMENT ON COLUMN {schema}.schedules.timezone IS 'In which time zone the fields are meant.';
COMMENT ON COLUMN {schema}.schedules.item_key IS 'The item of what is enqueued.';
COMMENT ON COLUMN {schema}.schedules.handler IS 'Its handler.';
COMMENT ON COLUMN {schema}.schedules.payload IS 'Its payload.';
COMMENT ON COLUMN {schema}.schedules.priority IS 'Its priority.';
COMMENT ON COLUMN {schema}.schedules.missed IS 'What becomes of times that passed while nothing ran: skip, once or all.';
COMMENT ON COLUMN {schema}.schedules.next_run IS 'When it is enqueued next; null: to be found out.';
COMMENT ON COLUMN {schema}.schedules.last_run IS 'When it was enqueued last.';
COMMENT ON COLUMN {schema}.schedules.created_at IS 'When it was made.';

COMMENT ON TABLE {schema}.webhook_deliveries IS 'What webhook sources delivered, so that the same delivery counts once.';
COMMENT ON COLUMN {schema}.webhook_deliveries.source IS 'Who delivered.';
COMMENT ON COLUMN {schema}.webhook_deliveries.delivery_id IS 'The sender''s id of the delivery.';
COMMENT ON COLUMN {schema}.webhook_deliveries.revision_id IS 'What it became.';
COMMENT ON COLUMN {schema}.webhook_deliveries.received_at IS 'When it came.';

COMMENT ON TABLE {schema}.llm_providers IS 'Where language models are reached. Keys are never stored, only the names of their variables.';
COMMENT ON COLUMN {schema}.llm_providers.name IS 'Its name.';
COMMENT ON COLUMN {schema}.llm_providers.type IS 'openai, deepseek or openai-compatible.';
COMMENT ON COLUMN {schema}.llm_providers.base_url IS 'Its address, where the type does not tell.';
COMMENT ON COLUMN {schema}.llm_providers.default_model IS 'The model of agents that name none.';
COMMENT ON COLUMN {schema}.llm_providers.key_variable IS 'The environment variable of the workers that holds its key. Null: the file, else the usual one of the type.';
COMMENT ON COLUMN {schema}.llm_providers.key_file IS 'The file on the workers'' host that holds its key.';
COMMENT ON COLUMN {schema}.llm_providers.created_at IS 'When it was made.';

COMMENT ON TABLE {schema}.agents IS 'Language models with a role, used by the agent handler.';
COMMENT ON COLUMN {schema}.agents.name IS 'Its name.';
COMMENT ON COLUMN {schema}.agents.role IS 'What it is.';
COMMENT ON COLUMN {schema}.agents.backstory IS 'What it knows of itself.';
COMMENT ON COLUMN {schema}.agents.instructions IS 'What it is told to do.';
COMMENT ON COLUMN {schema}.agents.provider IS 'Where its model is reached.';
COMMENT ON COLUMN {schema}.agents.model IS 'Which model. Null: the provider''s default.';
COMMENT ON COLUMN {schema}.agents.model_parameters IS 'temperature, maxTokens and the like.';
COMMENT ON COLUMN {schema}.agents.tools IS 'Names of functions that it may call, out of WORKERPOOL_AGENT_TOOLS.';
COMMENT ON COLUMN {schema}.agents.created_at IS 'When it was made.';

COMMENT ON SEQUENCE {schema}.fence IS 'Source of revisions.fence.';

COMMENT ON VIEW {schema}.queue_status IS 'How many revisions there are, by status and handler.';
COMMENT ON COLUMN {schema}.queue_status.status IS 'As in revisions.';
COMMENT ON COLUMN {schema}.queue_status.handler IS 'As in revisions.';
COMMENT ON COLUMN {schema}.queue_status.revisions IS 'How many.';
COMMENT ON COLUMN {schema}.queue_status.oldest IS 'When the oldest of them was inserted.';

COMMENT ON VIEW {schema}.item_status IS 'Items with something to do or a row of their own: how far each is, and what its head waits for.';
COMMENT ON COLUMN {schema}.item_status.item_key IS 'The item.';
COMMENT ON COLUMN {schema}.item_status.head_id IS 'Its lowest pending revision.';
COMMENT ON COLUMN {schema}.item_status.depth IS 'How many of its revisions are pending or processing.';
COMMENT ON COLUMN {schema}.item_status.processing_id IS 'The one that a worker has.';
COMMENT ON COLUMN {schema}.item_status.oldest_created_at IS 'When the oldest unfinished one was inserted.';
COMMENT ON COLUMN {schema}.item_status.halted_at IS 'Since when it is halted.';
COMMENT ON COLUMN {schema}.item_status.current_revision_number IS 'The number of its current content; 0: its original.';
COMMENT ON COLUMN {schema}.item_status.waiting_for IS 'Why its head does not run.';

COMMENT ON VIEW {schema}.stuck_revisions IS 'Revisions that nobody takes care of, and why.';
COMMENT ON COLUMN {schema}.stuck_revisions.id IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.item_key IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.handler IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.status IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.attempt IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.worker_id IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.started_at IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.lease_expires_at IS 'As in revisions.';
COMMENT ON COLUMN {schema}.stuck_revisions.why IS 'What is the matter.';

COMMENT ON VIEW {schema}.active_counts IS 'How many tokens and workers are active, by kind.';
COMMENT ON COLUMN {schema}.active_counts.kind IS 'orchestrator or background_worker.';
COMMENT ON COLUMN {schema}.active_counts.active IS 'How many.';

COMMENT ON VIEW {schema}.running_revisions IS 'What is processing now.';
COMMENT ON COLUMN {schema}.running_revisions.id IS 'Its number.';
COMMENT ON COLUMN {schema}.running_revisions.item_key IS 'Its item.';
COMMENT ON COLUMN {schema}.running_revisions.handler IS 'Its handler.';
COMMENT ON COLUMN {schema}.running_revisions.worker_id IS 'Who has it.';
COMMENT ON COLUMN {schema}.running_revisions.attempt IS 'Which attempt.';
COMMENT ON COLUMN {schema}.running_revisions.current_step IS 'The step it said last.';
COMMENT ON COLUMN {schema}.running_revisions.started_at IS 'When this attempt began.';
COMMENT ON COLUMN {schema}.running_revisions.stale IS 'Whether its lease is over.';
COMMENT ON COLUMN {schema}.running_revisions.held IS 'Whether it stays at a checkpoint, by the pause in force.';
COMMENT ON COLUMN {schema}.running_revisions.lost IS 'Whether its host is dead: it does not run any more, and will be rescued.';

COMMENT ON VIEW {schema}.pause_metrics IS 'One row: the figures of a pause.';
COMMENT ON COLUMN {schema}.pause_metrics.paused IS 'Whether the pool is paused.';
COMMENT ON COLUMN {schema}.pause_metrics.mode IS 'drain or quiesce.';
COMMENT ON COLUMN {schema}.pause_metrics.reason IS 'Why.';
COMMENT ON COLUMN {schema}.pause_metrics.actor IS 'Who asked for it.';
COMMENT ON COLUMN {schema}.pause_metrics.version IS 'Rises with each change of any pause.';
COMMENT ON COLUMN {schema}.pause_metrics.scopes IS 'Handlers and hosts that are paused beside.';
COMMENT ON COLUMN {schema}.pause_metrics.paused_seconds IS 'For how long; null: it is not.';
COMMENT ON COLUMN {schema}.pause_metrics.queued IS 'Pending revisions.';
COMMENT ON COLUMN {schema}.pause_metrics.running IS 'Revisions that are processing, held ones too.';
COMMENT ON COLUMN {schema}.pause_metrics.stale_running IS 'Of these, those whose lease is over.';
COMMENT ON COLUMN {schema}.pause_metrics.held IS 'Of these, those at a checkpoint.';
COMMENT ON COLUMN {schema}.pause_metrics.is_drained IS 'Whether none is processing.';

COMMENT ON VIEW {schema}.safe_state IS 'One row: whether nothing runs and nothing will start.';
COMMENT ON COLUMN {schema}.safe_state.paused IS 'Whether the pool is paused.';
COMMENT ON COLUMN {schema}.safe_state.version IS 'Of that pause.';
COMMENT ON COLUMN {schema}.safe_state.running IS 'Revisions that a worker has and does not hold at a checkpoint.';
COMMENT ON COLUMN {schema}.safe_state.held IS 'Revisions that are held at a checkpoint, by the pause in force.';
COMMENT ON COLUMN {schema}.safe_state.active_tokens IS 'Work tokens in force.';
COMMENT ON COLUMN {schema}.safe_state.unaware IS 'Living workers that have not yet seen this version.';
COMMENT ON COLUMN {schema}.safe_state.is_safe IS 'Whether all is still, provably.';

COMMENT ON FUNCTION {schema}.settle IS 'Writes the outcomes of attempts, fenced by their tokens, and lets their items go on.';
COMMENT ON FUNCTION {schema}.turn IS
'Settles what was done, claims heads of items and parks what is behind them: the only place where order is decided.';
COMMENT ON FUNCTION {schema}.dismiss IS 'Ends revisions that have not started.';
COMMENT ON FUNCTION {schema}.heal IS 'Unparks heads that foreign SQL stranded.';
COMMENT ON FUNCTION {schema}.item_lock IS 'The advisory lock of an item.';
COMMENT ON FUNCTION {schema}.lock_items IS 'Takes the locks of items, in one order.';
COMMENT ON FUNCTION {schema}.park_line IS 'Parks what stands behind the heads of deep items, at once.';
COMMENT ON FUNCTION {schema}.payload_to_send IS 'The payload as text, null where it is too long to be sent with a claim.';
COMMENT ON FUNCTION {schema}.unpark IS 'Makes heads candidates again and wakes a hungry worker.';
COMMENT ON FUNCTION {schema}.parked_heads IS 'Of each item the head, if it is parked behind a revision that is gone.';
COMMENT ON FUNCTION {schema}.schedule_revision IS 'At insert: a future run_at makes a pending row scheduled.';
COMMENT ON FUNCTION {schema}.wake_hungry IS 'At insert: notifies if a worker is idle, once a statement.';
COMMENT ON FUNCTION {schema}.replace_run_at IS 'At a change of run_at: decides anew where the row waits.';
COMMENT ON FUNCTION {schema}.keep_terminal IS 'At update: a finished revision changes only by a named operator, on record.';
COMMENT ON FUNCTION {schema}.append_only IS 'Refuses changes of what is on record.';
COMMENT ON FUNCTION {schema}.tell_cancel IS 'Notifies of a cancel by plain SQL.';
COMMENT ON FUNCTION {schema}.handler_lock IS 'The advisory lock of a handler that has a limit of what runs at once.';
COMMENT ON FUNCTION {schema}.final_verdict IS 'What a verdict becomes where a cancel was requested.';
COMMENT ON FUNCTION {schema}.fire IS 'Enqueues what was to follow revisions that have just ended.';
COMMENT ON FUNCTION {schema}.cancel IS 'Ends what has not started and asks what runs to stop.';
COMMENT ON FUNCTION {schema}.carry_out_cancels IS 'Ends stamped revisions that have not started; answers those that run.';
COMMENT ON FUNCTION {schema}.retry IS 'Lets failed or cancelled revisions run again, in their place or as copies at the end.';
COMMENT ON FUNCTION {schema}.queue_drafts IS 'Makes drafts take part.';
COMMENT ON FUNCTION {schema}.edit IS 'Changes a revision that has not started.';
COMMENT ON FUNCTION {schema}.halt IS 'Stops an item.';
COMMENT ON FUNCTION {schema}.unhalt IS 'Lets an item go on.';
COMMENT ON FUNCTION {schema}.purge IS 'Deletes an item with all its revisions.';
COMMENT ON FUNCTION {schema}.then_enqueue IS 'An attempt says what is to follow it, fenced by its token.';

COMMENT ON FUNCTION {schema}.pause_lock IS 'The key of the lock that a pause takes, and that claims share.';
COMMENT ON FUNCTION {schema}.may_work IS 'Whether nothing is paused as a whole; if so, until this transaction ends.';
COMMENT ON FUNCTION {schema}.take_pause_lock IS 'A trigger: a change of the pause waits for running claims, at most 5 s.';
COMMENT ON FUNCTION {schema}.who IS 'Who changes something: workerpool.actor, else the database''s user.';
COMMENT ON FUNCTION {schema}.pauses_changed IS 'A trigger: the record, the union and the news of a change of the pauses.';
COMMENT ON FUNCTION {schema}.pause_by_hand IS 'A trigger: who writes pause_state has asked for a pause, or takes all away.';
COMMENT ON FUNCTION {schema}.pause IS 'Asks for a pause, or changes what its holder asked for before.';
COMMENT ON FUNCTION {schema}.resume IS 'Takes pauses away: a holder''s, or all.';
COMMENT ON FUNCTION {schema}.lift_pauses IS 'Takes away the pauses whose time is over.';
COMMENT ON FUNCTION {schema}.acknowledge_pause IS 'A worker has seen what is in force.';
COMMENT ON FUNCTION {schema}.hold IS 'A worker stays at a checkpoint while a quiesce is in force.';
COMMENT ON FUNCTION {schema}.go_on IS 'A worker leaves its hold, before it runs on.';
COMMENT ON FUNCTION {schema}.activate_token IS 'A work token, unless the pool is paused.';
COMMENT ON FUNCTION {schema}.renew_tokens IS 'Lengthens the leases of work tokens that still count.';
COMMENT ON FUNCTION {schema}.release_token IS 'Gives a work token back.';
COMMENT ON FUNCTION {schema}.sweep_tokens IS 'Deletes work tokens whose lease is over.';

COMMENT ON TABLE {schema}.api_tokens IS
'Who may use the HTTP API, beside WORKERPOOL_API_TOKEN: `workerpool tokens` adds and revokes them. The secret itself is kept nowhere.';
COMMENT ON COLUMN {schema}.api_tokens.digest IS 'SHA-256 of the token.';
COMMENT ON COLUMN {schema}.api_tokens.name IS 'Under which its actions are recorded; of a worker its host.';
COMMENT ON COLUMN {schema}.api_tokens.role IS 'viewer (reads), operator (everything), worker (claims over HTTP), source (enqueues by webhook).';
COMMENT ON COLUMN {schema}.api_tokens.scopes IS 'Of a worker: the handlers it may claim. Of a source: its name. Null: any.';
COMMENT ON COLUMN {schema}.api_tokens.created_at IS 'When it was added.';
COMMENT ON COLUMN {schema}.api_tokens.created_by IS 'Who added it.';
COMMENT ON COLUMN {schema}.api_tokens.expires_at IS 'It lets nobody in after this. Null: for ever.';
COMMENT ON COLUMN {schema}.api_tokens.used_at IS 'When it was last used, to the minute.';
COMMENT ON COLUMN {schema}.api_tokens.revoked_at IS 'It lets nobody in since then.';
COMMENT ON TABLE {schema}.receipts IS
'Requests that count once however often they arrive: Idempotency-Key, claims and outcomes over HTTP. Kept for two days.';
COMMENT ON COLUMN {schema}.receipts.holder IS 'Whose request it was.';
COMMENT ON COLUMN {schema}.receipts.purpose IS 'enqueue, claim or settle.';
COMMENT ON COLUMN {schema}.receipts.key IS 'The request''s own name for itself.';
COMMENT ON COLUMN {schema}.receipts.digest IS 'SHA-256 of what it asked.';
COMMENT ON COLUMN {schema}.receipts.revision_ids IS 'The revisions that came of it.';
COMMENT ON COLUMN {schema}.receipts.created_at IS 'When it arrived first.';
COMMENT ON FUNCTION {schema}.remote_claim IS 'Claim one revision for a worker that speaks HTTP, once for each request.';
COMMENT ON FUNCTION {schema}.remote_seen IS 'A worker that speaks HTTP says that it lives, and is told what is paused.';
COMMENT ON TABLE {schema}.tallies IS
'What all processes have counted since the schema was made, for /metrics and StatsD; each adds what it has counted every few seconds.';
COMMENT ON COLUMN {schema}.tallies.name IS 'What: claims, outcomes, run_seconds, wait_seconds, restarts, rescues and so on.';
COMMENT ON COLUMN {schema}.tallies.handler IS 'Of which handler; empty: it is of none.';
COMMENT ON COLUMN {schema}.tallies.kind IS 'Which: of an outcome its verdict and kind (retried:timeout), of a restart its reason.';
COMMENT ON COLUMN {schema}.tallies.bucket IS 'Of lengths of time: those up to so many seconds, and longer than the bucket before. Else infinity.';
COMMENT ON COLUMN {schema}.tallies.value IS 'How many, or of a _sum how many seconds; it only rises.';
