//! What runners say, kept for each attempt that they compute, and brought to the object store in parts: every so often, and at the
//! attempt's end. Of what is longer than [`KEPT`] only the end is kept besides.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::id::{JobKey, LaneId};
use proto::pipe::Task;
use tokio::time::sleep;
use worker_artifacts::Artifacts;

/// How often what is new is sent.
const PACE: Duration = Duration::from_secs(10);
/// Bytes of a log that are sent as they come.
const KEPT: usize = 4 << 20;
/// Bytes that are kept of the end of a longer one, and of what the store does not take at the moment.
const TAIL: usize = 256 << 10;

/// The logs of the attempts that this worker's runners compute.
#[derive(Debug)]
pub(crate) struct Logs {
    artifacts: Artifacts,
    attempts: Mutex<BTreeMap<Task, Log>>,
    /// Parts of a log are written one after another.
    sending: tokio::sync::Mutex<()>,
}

/// One attempt's.
#[derive(Debug)]
struct Log {
    lane: LaneId,
    key: JobKey,
    /// The next part.
    part: u32,
    /// Bytes that were sent.
    sent: usize,
    unsent: String,
    /// Bytes that were dropped before `unsent`.
    dropped: usize,
}

impl Log {
    fn line(&mut self, line: &str) {
        self.unsent.push_str(line);
        self.unsent.push('\n');
        if self.unsent.len() <= TAIL {
            return;
        }
        let from = self.unsent.len() - TAIL;
        let lines = self.unsent.as_bytes().iter().skip(from).position(|byte| *byte == b'\n');
        let cut = from + lines.map_or(TAIL, |at| at + 1);
        self.dropped += cut;
        self.unsent.drain(..cut);
    }

    /// Takes out what is to be sent.
    fn take(&mut self) -> Option<(String, usize)> {
        let taken = (std::mem::take(&mut self.unsent), std::mem::take(&mut self.dropped));
        (!taken.0.is_empty()).then_some(taken)
    }

    /// Puts back what could not be sent.
    fn put_back(&mut self, (text, dropped): (String, usize)) {
        let newer = std::mem::replace(&mut self.unsent, text);
        self.dropped += dropped;
        newer.lines().for_each(|line| self.line(line));
    }
}

impl Logs {
    pub(crate) fn new(artifacts: Artifacts) -> Self {
        Self { artifacts, attempts: Mutex::default(), sending: tokio::sync::Mutex::default() }
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<Task, Log>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runner of a lane begins with an attempt.
    pub(crate) fn open(&self, lane: LaneId, task: Task, key: JobKey) {
        let log = Log { lane, key, part: 0, sent: 0, unsent: String::new(), dropped: 0 };
        self.attempts().entry(task).or_insert(log);
    }

    /// The runner of a lane has said something.
    pub(crate) fn line(&self, lane: LaneId, line: &str) {
        self.attempts().values_mut().filter(|log| log.lane == lane).for_each(|log| log.line(line));
    }

    /// Sends what is new, for ever.
    pub(crate) async fn keep(&self) -> ! {
        loop {
            sleep(PACE).await;
            let tasks: Vec<_> = self.attempts().keys().copied().collect();
            for task in tasks {
                self.send(task, false).await;
            }
        }
    }

    /// Sends the rest of an attempt's log.
    pub(crate) async fn close(&self, task: Task) {
        self.send(task, true).await;
        self.attempts().remove(&task);
    }

    /// Sends what is new of one log. One that is long already waits for its end.
    async fn send(&self, task: Task, last: bool) {
        let _turn = self.sending.lock().await;
        let next = match self.attempts().get_mut(&task) {
            Some(log) if last || log.sent < KEPT => log.take().map(|taken| (log.key, log.part, taken)),
            _ => None,
        };
        let Some((key, part, taken)) = next else { return };
        let text = match &taken {
            (text, 0) => text.clone(),
            (text, bytes) => format!("[{bytes} bytes left out]\n{text}"),
        };
        let bytes = text.len();
        let put = self.artifacts.put_log(key, task.attempt, part, text.into()).await;
        let mut attempts = self.attempts();
        let Some(log) = attempts.get_mut(&task) else { return };
        match put {
            Ok(()) => {
                log.part += 1;
                log.sent += bytes;
            }
            Err(error) => {
                tracing::debug!(%error, "a log waits");
                log.put_back(taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use proto::id::{Attempt, JobId};
    use worker_artifacts::hash_bytes;

    use super::*;

    const TASK: Task = Task { job: JobId(1), attempt: Attempt(2) };

    fn logs() -> (Logs, JobKey) {
        let key = JobKey(hash_bytes(b"job").digest);
        let logs = Logs::new(Artifacts::over(Arc::new(InMemory::new()), "mem://logs"));
        logs.open(LaneId(0), TASK, key);
        (logs, key)
    }

    async fn part(logs: &Logs, key: JobKey, part: u32) -> Option<String> {
        let text = logs.artifacts.log(key, TASK.attempt, part).await.unwrap();
        text.map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn lines_go_to_the_attempts_of_their_lane_part_by_part() {
        let (logs, key) = logs();
        logs.line(LaneId(0), "one");
        logs.line(LaneId(1), "another lane's");
        logs.send(TASK, false).await;
        logs.send(TASK, false).await;
        logs.line(LaneId(0), "two");
        logs.line(LaneId(0), "three");
        logs.close(TASK).await;
        logs.line(LaneId(0), "too late");
        assert_eq!(part(&logs, key, 0).await.as_deref(), Some("one\n"));
        assert_eq!(part(&logs, key, 1).await.as_deref(), Some("two\nthree\n"));
        assert_eq!(part(&logs, key, 2).await, None);
        assert!(logs.attempts().is_empty());
    }

    #[tokio::test]
    async fn of_a_long_log_the_beginning_and_the_end_are_kept() {
        let (logs, key) = logs();
        let line = "x".repeat(999);
        for _ in 0..=KEPT / 100_000 {
            (0..100).for_each(|_| logs.line(LaneId(0), &line));
            logs.send(TASK, false).await;
        }
        for number in 0..1_000 {
            logs.line(LaneId(0), &format!("{number:0999}"));
        }
        logs.send(TASK, false).await;
        let parts = logs.attempts()[&TASK].part;
        logs.close(TASK).await;
        let tail = part(&logs, key, parts).await.unwrap();
        assert!(tail.starts_with("[738000 bytes left out]\n0"), "{}", &tail[..40]);
        assert!(tail.ends_with("0999\n") && tail.len() <= TAIL + 40);
        assert_eq!(part(&logs, key, parts + 1).await, None);
    }
}
