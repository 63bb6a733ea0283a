//! Calls that come at the same time share one transaction: while one is under way the next ones gather.

use std::future::Future;
use std::sync::Arc;

use coordinator_store::StoreError;
use coordinator_store::model::{Artifact, Beat, Claim, Commit, Offer, Stamp, Told};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{Context, refuse};

/// Calls that share a transaction at most.
const LARGEST: usize = 256;

/// Where calls of one kind gather.
pub(crate) struct Gather<I, O> {
    waiting: mpsc::UnboundedSender<Call<I, O>>,
}

struct Call<I, O> {
    input: I,
    answer: oneshot::Sender<Result<O, Status>>,
}

/// The other end: one at a time takes what has gathered.
pub(crate) struct Gathered<I, O> {
    waiting: mpsc::UnboundedReceiver<Call<I, O>>,
}

impl<I, O> Gather<I, O> {
    /// Both ends.
    pub(crate) fn new() -> (Self, Gathered<I, O>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { waiting: sender }, Gathered { waiting: receiver })
    }

    /// Hands a call in and waits for its answer.
    pub(crate) async fn call(&self, input: I) -> Result<O, Status> {
        let stopping = || Status::unavailable("the coordinator is stopping");
        let (answer, answered) = oneshot::channel();
        self.waiting.send(Call { input, answer }).map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

impl<I, O> Gathered<I, O> {
    /// Serves until the other end is gone. `work` answers each call by itself, or fails for all.
    async fn serve<F>(mut self, mut work: impl FnMut(Vec<I>) -> F)
    where
        F: Future<Output = Result<Vec<Result<O, StoreError>>, StoreError>>,
    {
        let mut calls = Vec::new();
        while self.waiting.recv_many(&mut calls, LARGEST).await > 0 {
            let (inputs, waiting): (Vec<_>, Vec<_>) =
                calls.drain(..).map(|call| (call.input, call.answer)).unzip();
            match work(inputs).await {
                Ok(answers) => {
                    for (caller, answer) in waiting.into_iter().zip(answers) {
                        // A caller that hung up gets its answer by asking again: every call is safe to repeat.
                        drop(caller.send(answer.map_err(refuse::by_store)));
                    }
                }
                Err(error) => {
                    let refused = refuse::by_store(error);
                    for caller in waiting {
                        drop(caller.send(Err(refused.clone())));
                    }
                }
            }
        }
    }
}

/// The calls that workers make most.
pub(crate) struct Batches {
    pub(crate) claims: Gather<Claim, Vec<Offer>>,
    pub(crate) beats: Gather<Beat, Told>,
    pub(crate) commits: Gather<Commit, Artifact>,
}

/// The other ends.
pub(crate) struct Workers {
    claims: Gathered<Claim, Vec<Offer>>,
    beats: Gathered<Beat, Told>,
    commits: Gathered<Commit, Artifact>,
}

impl Batches {
    /// All ends.
    pub(crate) fn new() -> (Self, Workers) {
        let (claims, claimed) = Gather::new();
        let (beats, beaten) = Gather::new();
        let (commits, committed) = Gather::new();
        (Self { claims, beats, commits }, Workers { claims: claimed, beats: beaten, commits: committed })
    }
}

impl Workers {
    /// Carries calls out until it is dropped.
    pub(crate) async fn serve(self, context: &Arc<Context>) {
        let at = || -> Stamp { context.stamp() };
        tokio::join!(
            self.claims.serve(|claims| context.store.claim(at(), claims)),
            self.beats.serve(|beats| context.store.heartbeat(at(), beats)),
            self.commits.serve(|commits| async {
                let committed = context.store.complete(at(), commits).await;
                context.jobs_moved();
                committed
            }),
        );
    }
}
