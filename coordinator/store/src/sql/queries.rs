//! Every SQL statement, one a file. The first line of a file states its guard: the condition without which the write must not happen, or
//! what it reads. Both databases run the same statements; where one must say it in another way, that way lies in its own folder.

macro_rules! queries {
    ($($name:ident),+ $(,)?) => {
        /// The statements of one database.
        #[derive(Debug)]
        pub(crate) struct Queries {
            $(pub(super) $name: &'static str,)+
        }

        /// The statements as SQLite runs them.
        pub(crate) static COMMON: Queries = Queries {
            $($name: include_str!(concat!("queries/", stringify!($name), ".sql")),)+
        };

        impl Queries {
            /// File name and text of each statement.
            #[cfg(test)]
            pub(super) fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

queries! {
    absolve,
    absolve_before,
    artifacts,
    artifacts_insert,
    attempt_facts,
    attempt_revive,
    attempts_begin,
    attempts_commit,
    attempts_end,
    behind,
    candidates,
    candidates_of_fan,
    checkpoint_discard,
    checkpoint_insert,
    checkpoints_drop,
    checkpoints_thin,
    claim,
    condemn,
    condemned,
    condemned_among,
    events,
    facts,
    facts_attempts,
    failures,
    held_by_workers,
    held_of_sweep,
    inputs_drop,
    inputs_insert,
    job_artifacts,
    job_fail,
    job_revive,
    jobs,
    jobs_by_key,
    jobs_cancel,
    jobs_cancellable,
    jobs_go_on,
    jobs_insert,
    jobs_limit_misses,
    jobs_lost,
    jobs_matching,
    jobs_raise_priority,
    jobs_rename,
    jobs_retry,
    jobs_retryable,
    jobs_start,
    jobs_succeed,
    jobs_take_back,
    jobs_waivable,
    jobs_waive,
    lanes_held,
    lanes_live,
    needed,
    needs_met,
    newest,
    offer_checkpoints,
    offer_inputs,
    offers,
    progress,
    promote,
    quota_lift,
    quota_set,
    quotas,
    quotas_exist,
    ready_count,
    results,
    roots,
    siblings,
    situation,
    situation_ahead,
    situation_needs,
    stage_counters,
    stages_insert,
    stalled,
    sweep_by_id,
    sweep_by_name,
    sweep_counters,
    sweep_end,
    sweep_insert,
    sweep_jobs_insert,
    sweep_joinable,
    sweep_reopen,
    sweep_state,
    sweeps,
    sweeps_touched,
    token_bearer,
    token_insert,
    token_revoke,
    tokens,
    totals,
    totals_jobs,
    waiting,
    worker_drain,
    worker_find,
    worker_host,
    worker_insert,
    worker_lose,
    worker_reopen,
    workers,
    workers_blame,
    workers_live,
    workers_of,
    workers_renew,
    workers_supersede,
}
