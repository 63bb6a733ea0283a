//! Several coordinators on one Postgres: one leads, the others take over in order.

mod common;

use std::time::Duration;

use common::*;
use coordinator_core::time::Micros;
use coordinator_store::model::Stamp;
use coordinator_store::{Lead, Leadership, Store, StoreError};
use proto::id::Term;

fn stamp(term: u64) -> Stamp {
    Stamp { term: Term(term), now: Micros(1) }
}

#[tokio::test]
async fn one_leads_and_a_successor_shuts_the_old_one_out() {
    let Some(url) = tests::database() else { return };
    let (first, second) = (lead(&url, "first").await, lead(&url, "second").await);
    assert_eq!(first.try_lead().await.unwrap(), Some(Term(1)));
    assert_eq!(second.try_lead().await.unwrap(), None, "somebody leads");
    let leader = second.leader().await.unwrap();
    assert_eq!((leader.term, leader.address.as_str()), (Term(1), "http://first"));
    assert!(leader.remaining > Duration::from_secs(50));
    let old = first.store(policy());
    old.submit(stamp(1), small_sweep()).await.unwrap();
    first.step_down().await.unwrap();
    assert!(!first.renew().await.unwrap());
    assert_eq!(second.try_lead().await.unwrap(), Some(Term(2)));
    let refused = old.promote(stamp(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::StaleTerm { given: Term(1), current: Term(0) }), "{refused}");
    let new = second.store(policy());
    let refused = new.promote(stamp(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::StaleTerm { given: Term(1), current: Term(2) }), "{refused}");
    new.promote(stamp(2)).await.unwrap();
    assert_eq!(new.sweeps().await.unwrap().len(), 1, "it is the same table");
}

#[tokio::test]
async fn a_reign_ends_with_its_time_and_goes_on_when_nobody_came() {
    let Some(url) = tests::database() else { return };
    let short = Leadership::open(&url, "short".into(), "http://short".into(), Duration::ZERO).await.unwrap();
    assert_eq!(short.try_lead().await.unwrap(), Some(Term(1)));
    assert!(short.renew().await.unwrap(), "late, but nobody took over");
    let other = lead(&url, "other").await;
    assert_eq!(other.try_lead().await.unwrap(), Some(Term(2)), "its time is over");
    assert!(!short.renew().await.unwrap());
    assert_eq!(short.try_lead().await.unwrap(), None);
}

#[tokio::test]
async fn who_has_the_leaders_address_has_outlived_him() {
    let Some(url) = tests::database() else { return };
    assert_eq!(lead(&url, "a").await.try_lead().await.unwrap(), Some(Term(1)));
    let restarted =
        Leadership::open(&url, "a again".into(), "http://a".into(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(restarted.try_lead().await.unwrap(), Some(Term(2)));
}

/// A takeover waits for a write that is under way, and no write of the older term can end after it.
#[tokio::test]
async fn many_take_over_but_each_term_is_held_once() {
    let Some(url) = tests::database() else { return };
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let url = url.clone();
        tasks.spawn(async move {
            let name = format!("c{n}");
            let own = Leadership::open(&url, name.clone(), name, Duration::ZERO).await.unwrap();
            let mut terms = Vec::new();
            for _ in 0..10 {
                if let Some(term) = own.try_lead().await.unwrap() {
                    let written = own.store(policy()).promote(stamp(term.0)).await;
                    assert!(matches!(written, Ok(_) | Err(StoreError::StaleTerm { .. })), "{written:?}");
                    terms.push(term);
                }
            }
            terms
        });
    }
    let mut terms = tasks.join_all().await.concat();
    terms.sort_unstable();
    assert_eq!(terms, (1..=terms.len() as u64).map(Term).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_leader_who_steps_down_is_heard() {
    let Some(url) = tests::database() else { return };
    let (first, second) = (lead(&url, "first").await, lead(&url, "second").await);
    first.try_lead().await.unwrap();
    let mut heard = std::pin::pin!(second.changed());
    loop {
        // The hint may come before the listener is there, as hints may.
        tokio::select! {
            heard = &mut heard => break heard.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                first.step_down().await.unwrap();
                first.try_lead().await.unwrap();
            }
        }
    }
}
