//! What each path of the port demands. A path that is not here is nobody's.

use proto::state::Role;

/// What a call has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing.
    Anyone,
    /// A token of this role, or of one that includes it.
    Needs(Role),
}

use Right::{Anyone, Needs};
use Role::{Operator, Viewer, Worker};

/// Path → right. `Plan` changes nothing, but has the coordinator read files of its machine; `Quota` both lists and limits.
pub(super) const RIGHTS: &[(&str, Right)] = &[
    ("/healthz", Anyone),
    ("/leaderz", Anyone),
    ("/metrics", Needs(Viewer)),
    ("/quiver.v1.Fleet/Acquire", Needs(Worker)),
    ("/quiver.v1.Fleet/Checkpointed", Needs(Worker)),
    ("/quiver.v1.Fleet/Complete", Needs(Worker)),
    ("/quiver.v1.Fleet/Fail", Needs(Worker)),
    ("/quiver.v1.Fleet/Heartbeat", Needs(Worker)),
    ("/quiver.v1.Fleet/Register", Needs(Worker)),
    ("/quiver.v1.Operator/Artifacts", Needs(Viewer)),
    ("/quiver.v1.Operator/Cancel", Needs(Operator)),
    ("/quiver.v1.Operator/Collect", Needs(Operator)),
    ("/quiver.v1.Operator/CreateToken", Needs(Operator)),
    ("/quiver.v1.Operator/Drain", Needs(Operator)),
    ("/quiver.v1.Operator/Events", Needs(Viewer)),
    ("/quiver.v1.Operator/Explain", Needs(Viewer)),
    ("/quiver.v1.Operator/Hello", Anyone),
    ("/quiver.v1.Operator/Jobs", Needs(Viewer)),
    ("/quiver.v1.Operator/Logs", Needs(Viewer)),
    ("/quiver.v1.Operator/Plan", Needs(Operator)),
    ("/quiver.v1.Operator/Quota", Needs(Operator)),
    ("/quiver.v1.Operator/Retry", Needs(Operator)),
    ("/quiver.v1.Operator/RevokeToken", Needs(Operator)),
    ("/quiver.v1.Operator/Status", Needs(Viewer)),
    ("/quiver.v1.Operator/Submit", Needs(Operator)),
    ("/quiver.v1.Operator/Tokens", Needs(Operator)),
    ("/quiver.v1.Operator/Waive", Needs(Operator)),
    ("/quiver.v1.Operator/Watch", Needs(Viewer)),
    ("/readyz", Anyone),
];

/// What a path demands.
pub(super) fn right(path: &str) -> Option<Right> {
    RIGHTS.binary_search_by_key(&path, |(known, _)| known).ok().map(|at| RIGHTS[at].1)
}

#[cfg(test)]
mod tests {
    use proto::v1::METHODS;

    use super::*;

    #[test]
    fn every_call_of_the_contract_has_its_right_and_no_other_has_one() {
        for method in METHODS {
            assert!(right(method).is_some(), "{method} has no right");
        }
        let calls = RIGHTS.iter().filter(|(path, _)| path.starts_with("/quiver."));
        assert_eq!(calls.count(), METHODS.len());
    }

    #[test]
    fn rights_are_found_and_a_strange_path_is_nobodys() {
        assert!(RIGHTS.is_sorted_by_key(|(path, _)| path));
        for (path, expected) in RIGHTS {
            assert_eq!(right(path), Some(*expected));
        }
        for strange in ["", "/", "/quiver.v1.Fleet/register", "/quiver.v1.Fleet/Register/", "//metrics"] {
            assert_eq!(right(strange), None, "{strange}");
        }
    }
}
