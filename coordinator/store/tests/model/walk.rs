//! Long random walks through a larger world.

use std::mem::discriminant;

use proptest::prelude::*;
use proptest::sample::Index;
use proto::error::ErrorCode;

use crate::common::*;
use crate::world::{Scope, World};

const SCOPE: Scope = Scope { attempts: 40, restarts: 6, codes: &ErrorCode::ALL, operators: true };

fn five_jobs() -> World {
    let jobs = vec![
        job(1, Some(9), 50, &[]),
        job(2, Some(9), 70, &[]),
        job(3, Some(8), 20, &[]),
        job(4, None, 10, &[1, 2]),
        job(5, None, 1, &[3, 4]),
    ];
    World::new(sweep(1, jobs), 3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_walk_breaks_a_rule(choices in proptest::collection::vec(any::<(Index, Index)>(), 1..150)) {
        let mut world = five_jobs();
        for (kind, one) in choices {
            // A kind of step first: there are many more ways to fail than to ask for a job.
            let steps = world.steps(&SCOPE);
            let kind = discriminant(kind.get(&steps));
            let steps: Vec<_> = steps.into_iter().filter(|step| discriminant(step) == kind).collect();
            world = world.after(*one.get(&steps));
        }
        world.ends();
    }
}
