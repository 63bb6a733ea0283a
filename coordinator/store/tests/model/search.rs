//! Every state that a small world can come to, breadth first.

use std::collections::{HashSet, VecDeque};

use proto::error::ErrorCode;

use crate::common::*;
use crate::world::{Scope, World};

/// Visits every state within a scope. Returns how many there are.
fn search(start: World, scope: &Scope) -> usize {
    let mut seen = HashSet::from([start.key()]);
    let mut open = VecDeque::from([start]);
    while let Some(world) = open.pop_front() {
        world.ends();
        for step in world.steps(scope) {
            let next = world.after(step);
            if seen.insert(next.key()) {
                open.push_back(next);
            }
        }
    }
    seen.len()
}

#[test]
fn two_jobs_two_workers_two_attempts() {
    let jobs = vec![job(1, None, 1, &[]), job(2, None, 1, &[1])];
    let scope = Scope { attempts: 2, restarts: 0, codes: &[], operators: false };
    let states = search(World::new(sweep(1, jobs), 2), &scope);
    println!("{states} states of two jobs");
    assert!(states > 10_000, "the search has lost its way");
}

#[test]
fn one_job_that_fails_is_cancelled_and_retried_while_processes_come_and_go() {
    let scope = Scope { attempts: 2, restarts: 1, codes: &[ErrorCode::Storage], operators: true };
    let states = search(World::new(sweep(1, vec![job(1, None, 1, &[])]), 2), &scope);
    println!("{states} states of one job");
    assert!(states > 1_000, "the search has lost its way");
}
