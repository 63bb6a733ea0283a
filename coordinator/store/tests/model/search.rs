//! Every state that a small world can come to, breadth first.

use std::collections::{HashSet, VecDeque};

use crate::common::*;
use crate::world::{Scope, World};

/// Visits every state within a scope. Returns how many there are.
fn search(start: World, scope: &Scope) -> usize {
    let began = std::time::Instant::now();
    let mut seen = HashSet::from([start.key()]);
    let mut open = VecDeque::from([start]);
    while let Some(world) = open.pop_front() {
        world.ends();
        for step in world.steps(scope) {
            let next = world.after(step);
            if seen.insert(next.key()) {
                open.push_back(next);
                if seen.len() % 2000 == 0 {
                    println!("{} seen, {} open, {:?}", seen.len(), open.len(), began.elapsed());
                }
            }
        }
    }
    seen.len()
}

fn two_jobs() -> World {
    World::new(sweep(1, vec![job(1, None, 1, &[]), job(2, None, 1, &[1])]), 2)
}

#[test]
fn two_jobs_two_workers_two_attempts() {
    let scope = Scope { attempts: 2, restarts: 0, codes: &[], operators: false };
    let states = search(two_jobs(), &scope);
    println!("{states} states");
}
