//! What operators keep in order: garbage and access.

use coordinator_core::time::Micros;
use coordinator_store::model::{Bearer, NewToken, RecordedCheckpoint};
use coordinator_store::{Store, StoreError};
use proto::state::Role;

use crate::common::*;

conformance! {
    /// What is about to be deleted cannot be committed; what the table refers to is told.
    condemned_objects_are_not_committed, store => {
        store.submit(at(1), sweep(100, vec![job(1, None, 1, &[])])).await.unwrap();
        let worker = worker(store, 2).await;
        let task = store.claim_one(at(3), claim(worker, None, 1)).await.unwrap()[0].task;
        store.condemn(at(4), vec![digest(7), digest(8)]).await.unwrap();
        store.condemn(at(4), vec![digest(7)]).await.unwrap();
        let refused = store.commit(at(5), worker, task, completion(7)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Condemned(d) if d == digest(7)), "{refused}");
        let checkpoint = |n| RecordedCheckpoint { step: 1, artifact: artifact(n) };
        let refused = store.save(at(5), worker, task, checkpoint(8)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Condemned(_)), "{refused}");
        store.save(at(6), worker, task, checkpoint(9)).await.unwrap();
        assert_eq!(store.roots().await.unwrap(), [artifact(200), artifact(9)]);
        store.absolve(at(7), vec![digest(7)]).await.unwrap();
        assert_eq!(store.condemned().await.unwrap(), [digest(8)]);
        store.commit(at(8), worker, task, completion(7)).await.unwrap();
        assert_eq!(store.roots().await.unwrap(), [artifact(200), artifact(7)], "nobody resumes a job that is done");
    }
}

conformance! {
    /// Tokens are found by hash until they are revoked, and a name is given once.
    tokens_open_until_revoked, store => {
        let token = |name: &str, n| NewToken { name: name.into(), role: Role::Viewer, hash: digest(n) };
        store.create_token(at(1), token("ann", 1)).await.unwrap();
        let taken = store.create_token(at(2), token("ann", 2)).await.unwrap_err();
        assert!(matches!(taken, StoreError::Taken(_)), "{taken}");
        let ann = Bearer { name: "ann".into(), role: Role::Viewer };
        assert_eq!(store.bearer(digest(1)).await.unwrap(), Some(ann));
        assert_eq!(store.bearer(digest(2)).await.unwrap(), None);
        assert!(store.revoke_token(at(3), "ann").await.unwrap());
        assert!(!store.revoke_token(at(4), "ann").await.unwrap());
        assert_eq!(store.bearer(digest(1)).await.unwrap(), None);
        assert_eq!(store.tokens().await.unwrap()[0].revoked_at, Some(Micros(3)));
        assert!(store.create_token(at(5), token("ann", 3)).await.is_err());
    }
}
