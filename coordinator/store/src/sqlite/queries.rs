//! Every SQL statement, one a file. The first line of a file states its guard: the condition without which the write must not happen, or
//! what it reads.

macro_rules! queries {
    ($($name:ident = $file:literal),+ $(,)?) => {
        $(pub(super) const $name: &str = include_str!(concat!("queries/", $file, ".sql"));)+

        /// File name and text of each statement.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$(($file, $name)),+];
    };
}

queries! {
    ARTIFACT_INSERT = "artifact_insert",
    ATTEMPT_COMMIT = "attempt_commit",
    ATTEMPT_FACTS = "attempt_facts",
    ATTEMPT_REVIVE = "attempt_revive",
    ATTEMPTS_BEGIN = "attempts_begin",
    ATTEMPTS_END = "attempts_end",
    CANDIDATES = "candidates",
    CANDIDATES_OF_FAN = "candidates_of_fan",
    CHECKPOINT_INSERT = "checkpoint_insert",
    CLAIM = "claim",
    EVENTS = "events",
    FACTS = "facts",
    FACTS_ATTEMPTS = "facts_attempts",
    FAILURES = "failures",
    HELD_BY_WORKERS = "held_by_workers",
    HELD_OF_SWEEP = "held_of_sweep",
    INPUTS_INSERT = "inputs_insert",
    JOB_ARTIFACT = "job_artifact",
    JOB_FAIL = "job_fail",
    JOB_REVIVE = "job_revive",
    JOB_SUCCEED = "job_succeed",
    JOBS = "jobs",
    JOBS_BY_KEY = "jobs_by_key",
    JOBS_CANCEL = "jobs_cancel",
    JOBS_CANCELLABLE = "jobs_cancellable",
    JOBS_INSERT = "jobs_insert",
    JOBS_MATCHING = "jobs_matching",
    JOBS_RAISE_PRIORITY = "jobs_raise_priority",
    JOBS_RETRY = "jobs_retry",
    JOBS_RETRYABLE = "jobs_retryable",
    JOBS_START = "jobs_start",
    JOBS_TAKE_BACK = "jobs_take_back",
    LANE_HELD = "lane_held",
    NEEDS_MET = "needs_met",
    OFFER_CHECKPOINTS = "offer_checkpoints",
    OFFER_INPUTS = "offer_inputs",
    OFFERS = "offers",
    PROGRESS = "progress",
    PROMOTE = "promote",
    RESULTS = "results",
    SIBLINGS = "siblings",
    STAGE_COUNTERS = "stage_counters",
    STAGES_INSERT = "stages_insert",
    SWEEP_BY_ID = "sweep_by_id",
    SWEEP_BY_NAME = "sweep_by_name",
    SWEEP_COUNTERS = "sweep_counters",
    SWEEP_END = "sweep_end",
    SWEEP_INSERT = "sweep_insert",
    SWEEP_JOBS_INSERT = "sweep_jobs_insert",
    SWEEP_JOINABLE = "sweep_joinable",
    SWEEP_REOPEN = "sweep_reopen",
    SWEEP_STATE = "sweep_state",
    SWEEPS = "sweeps",
    SWEEPS_TOUCHED = "sweeps_touched",
    WORKER_FIND = "worker_find",
    WORKER_INSERT = "worker_insert",
    WORKER_IS_LIVE = "worker_is_live",
    WORKER_LOSE = "worker_lose",
    WORKER_RENEW = "worker_renew",
    WORKER_REOPEN = "worker_reopen",
    WORKERS = "workers",
    WORKERS_LIVE = "workers_live",
    WORKERS_SUPERSEDE = "workers_supersede",
}
