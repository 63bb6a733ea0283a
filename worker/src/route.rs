//! Which of several coordinators is asked first: the one that answered last, then the others in turn. One that stands by tells who leads,
//! and that one goes next, even if nobody named it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::v1::fleet_client::FleetClient;
use proto_kit::address::Address;
use tonic::transport::Channel;

/// Largest answer that is read: one offer may name thousands of inputs.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Opens a channel to a coordinator, which connects with the first call and again after each loss.
pub(crate) type Dial = fn(&Address) -> Option<Channel>;

/// One coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) url: String,
    pub(crate) client: FleetClient<Channel>,
    /// Whether a coordinator named it, rather than the operator.
    is_told: bool,
}

impl Door {
    /// A door to the coordinator at `url`.
    pub(crate) fn new(url: &str, channel: Channel) -> Self {
        let client = FleetClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { url: url.to_owned(), client, is_told: false }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Route {
    doors: Mutex<Vec<Door>>,
    /// How to reach a leader that nobody named; without, only the named ones are tried.
    dial: Option<Dial>,
}

impl Route {
    /// A route over coordinators in the order in which they are named.
    pub(crate) fn new(doors: Vec<Door>, dial: Option<Dial>) -> Self {
        Self { doors: Mutex::new(doors), dial }
    }

    /// The coordinators in the order in which a call tries them.
    pub(crate) fn walk(&self) -> Walk {
        Walk { left: self.doors().clone().into(), tried: Vec::new(), dial: self.dial }
    }

    /// Notes that a coordinator serves. One that was told is kept as long as it does.
    pub(crate) fn serves(&self, door: Door) {
        let mut doors = self.doors();
        if doors.first().is_some_and(|first| first.url == door.url) {
            return;
        }
        tracing::info!(url = door.url, "this coordinator serves");
        doors.retain(|other| !other.is_told && other.url != door.url);
        doors.insert(0, door);
    }

    fn doors(&self) -> MutexGuard<'_, Vec<Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One call's way along the coordinators.
pub(crate) struct Walk {
    left: VecDeque<Door>,
    tried: Vec<String>,
    dial: Option<Dial>,
}

impl Iterator for Walk {
    type Item = Door;

    fn next(&mut self) -> Option<Door> {
        let door = self.left.pop_front()?;
        self.tried.push(door.url.clone());
        Some(door)
    }
}

impl Walk {
    /// Goes to the leader next, unless it was tried already. A call follows one coordinator that nobody named, so that two which name
    /// ever others cannot lead it astray.
    pub(crate) fn follow(&mut self, leader: &str) {
        let Ok(leader) = leader.parse::<Address>() else { return };
        if self.tried.iter().any(|url| url == leader.as_str()) {
            return;
        }
        let known = self.left.iter().position(|door| door.url == leader.as_str());
        let next = match known {
            Some(at) => self.left.remove(at),
            None => self.dial.take().and_then(|dial| {
                let channel = dial(&leader)?;
                Some(Door { is_told: true, ..Door::new(leader.as_str(), channel) })
            }),
        };
        if let Some(door) = next {
            self.left.push_front(door);
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn dial(address: &Address) -> Option<Channel> {
        Some(Endpoint::from_shared(address.as_str().to_owned()).ok()?.connect_lazy())
    }

    fn route(urls: &[&str]) -> Route {
        let door = |url: &&str| Door::new(url, dial(&url.parse().unwrap()).unwrap());
        Route::new(urls.iter().map(door).collect(), Some(dial))
    }

    fn urls(walk: Walk) -> Vec<String> {
        walk.map(|door| door.url).collect()
    }

    #[tokio::test]
    async fn the_one_that_answered_last_goes_first() {
        let route = route(&["http://a", "http://b", "http://c"]);
        let second = route.walk().nth(1).unwrap();
        route.serves(second);
        assert_eq!(urls(route.walk()), ["http://b", "http://a", "http://c"]);
    }

    #[tokio::test]
    async fn a_leader_that_is_told_goes_next_and_is_forgotten_when_another_serves() {
        let route = route(&["http://a", "http://b"]);
        let mut walk = route.walk();
        walk.next();
        walk.follow("http://c/");
        let told = walk.next().unwrap();
        assert_eq!(told.url, "http://c");
        walk.follow("http://d");
        assert_eq!(urls(walk), ["http://b"], "one that nobody named is enough");
        route.serves(told);
        assert_eq!(urls(route.walk()), ["http://c", "http://a", "http://b"]);
        let named = route.walk().nth(2).unwrap();
        route.serves(named);
        assert_eq!(urls(route.walk()), ["http://b", "http://a"]);
    }

    #[tokio::test]
    async fn nobody_is_tried_twice_and_nonsense_is_passed_over() {
        let route = route(&["http://a", "http://b", "http://c"]);
        let mut walk = route.walk();
        walk.next();
        for told in ["http://a", "", "nonsense://x", "http://c"] {
            walk.follow(told);
        }
        assert_eq!(urls(walk), ["http://c", "http://b"]);
    }
}
