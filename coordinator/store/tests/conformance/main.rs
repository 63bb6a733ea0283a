//! What every job table must do. Each case runs on all implementations.

#[path = "../common/mod.rs"]
mod common;

/// Runs a case on every implementation and checks the invariants at its end.
macro_rules! conformance {
    ($(#[$doc:meta])* $name:ident, $store:ident => $body:block) => {
        $(#[$doc])*
        #[tokio::test]
        async fn $name() {
            for table in stores().await {
                println!("{}", table.name);
                let $store: &dyn Store = &*table.store;
                $body
                check($store, &[]).await;
            }
        }
    };
}

mod attempts;
mod offers;
mod sessions;
mod sweeps;
mod upkeep;
mod waive;
