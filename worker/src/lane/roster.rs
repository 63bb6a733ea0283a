//! Who computes and who waits: decisions over the jobs of a lane in the order of their arrival.
//!
//! A lane computes one group at a time: jobs of one fan, up to its slots, or one job alone. Whatever else it holds waits: jobs of the
//! same fan for a slot, others for the lane to be empty. Whoever is ready goes first, so that a slow download holds up only its own job.

/// A job as these decisions see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat<'a> {
    /// Its fan; empty for a job that runs alone.
    pub(super) fan: &'a str,
    /// Jobs of its group that fit.
    pub(super) slots: usize,
    /// Where it is.
    pub(super) standing: Standing,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its inputs are on their way.
    Preparing,
    /// It could start.
    Ready,
    /// The runner has it.
    Computing {
        /// Whether its end is known to be far.
        long: bool,
    },
    /// The runner is done with it, and something of it is still on its way.
    Stopped,
}

impl Seat<'_> {
    fn is_computing(&self) -> bool {
        matches!(self.standing, Standing::Computing { .. })
    }
}

/// Which job starts now, by its place in the order.
pub(super) fn next<'a>(seats: impl Iterator<Item = Seat<'a>> + Clone) -> Option<usize> {
    let mut computing = seats.clone().filter(Seat::is_computing);
    let fits = |seat: &Seat<'_>| seat.standing == Standing::Ready;
    let Some(group) = computing.next() else { return seats.clone().position(|seat| fits(&seat)) };
    if group.fan.is_empty() || 1 + computing.count() >= group.slots {
        return None;
    }
    seats.clone().position(|seat| fits(&seat) && seat.fan == group.fan)
}

/// What to ask the coordinator for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand<'a> {
    /// The group in the lane; empty for none, or a job alone.
    pub(super) fan: &'a str,
    /// Jobs that could start at once.
    pub(super) free_slots: usize,
    /// Further jobs to hold ready: one for each slot that may become free soon.
    pub(super) prefetch: usize,
}

/// What a lane wants.
pub(super) fn demand<'a>(seats: impl Iterator<Item = Seat<'a>> + Clone) -> Demand<'a> {
    let seats = seats.filter(|seat| seat.standing != Standing::Stopped);
    let Some(group) = seats.clone().find(Seat::is_computing).or_else(|| seats.clone().next()) else {
        return Demand { fan: "", free_slots: 1, prefetch: 1 };
    };
    let same = |seat: &Seat<'_>| !group.fan.is_empty() && seat.fan == group.fan;
    let seated = seats.clone().filter(same).count().clamp(1, group.slots);
    let waiting = seats.clone().count().saturating_sub(seated);
    let long = seats.filter(|seat| seat.standing == Standing::Computing { long: true }).count();
    let prefetch = group.slots.saturating_sub(long).saturating_sub(waiting);
    Demand { fan: group.fan, free_slots: group.slots - seated, prefetch }
}

#[cfg(test)]
mod tests {
    use super::Standing::{Preparing, Ready};
    use super::*;

    const COMPUTING: Standing = Standing::Computing { long: false };

    fn seat(fan: &str, standing: Standing) -> Seat<'_> {
        Seat { fan, slots: if fan.is_empty() { 1 } else { 3 }, standing }
    }

    fn next_of(seats: &[Seat<'_>]) -> Option<usize> {
        next(seats.iter().copied())
    }

    fn wants<'a>(seats: &[Seat<'a>]) -> (&'a str, usize, usize) {
        let Demand { fan, free_slots, prefetch } = demand(seats.iter().copied());
        (fan, free_slots, prefetch)
    }

    #[test]
    fn an_empty_lane_starts_whoever_is_ready_first() {
        assert_eq!(next_of(&[]), None);
        assert_eq!(next_of(&[seat("f", Preparing), seat("", Ready), seat("g", Ready)]), Some(1));
    }

    #[test]
    fn free_slots_go_to_the_same_fan_in_order_and_others_wait_for_an_empty_lane() {
        let computing = seat("f", COMPUTING);
        let waiting = [seat("", Ready), seat("g", Ready), seat("f", Preparing), seat("f", Ready)];
        assert_eq!(next_of(&[&[computing], waiting.as_slice()].concat()), Some(4));
        assert_eq!(next_of(&[computing, seat("", Ready), seat("g", Ready)]), None);
        assert_eq!(next_of(&[computing, computing, computing, seat("f", Ready)]), None, "no slot");
    }

    #[test]
    fn a_job_that_was_stopped_takes_no_place() {
        let stopped = seat("f", Standing::Stopped);
        assert_eq!(next_of(&[stopped, seat("g", Ready)]), Some(1));
        assert_eq!(wants(&[stopped]), ("", 1, 1));
    }

    #[test]
    fn a_job_alone_shares_its_lane_with_nobody() {
        assert_eq!(next_of(&[seat("", COMPUTING), seat("", Ready), seat("f", Ready)]), None);
    }

    #[test]
    fn a_lane_asks_for_what_fits_and_one_more_for_each_slot() {
        assert_eq!(wants(&[]), ("", 1, 1));
        assert_eq!(wants(&[seat("", COMPUTING)]), ("", 0, 1));
        assert_eq!(wants(&[seat("", COMPUTING), seat("f", Ready)]), ("", 0, 0));
        let computing = seat("f", COMPUTING);
        assert_eq!(wants(&[computing]), ("f", 2, 3));
        assert_eq!(wants(&[computing, seat("f", Preparing), seat("", Ready)]), ("f", 1, 2));
        assert_eq!(
            wants(&[computing, computing, computing, seat("f", Ready), seat("g", Ready)]),
            ("f", 0, 1)
        );
        assert_eq!(wants(&[seat("f", Ready)]), ("f", 2, 3));
    }

    #[test]
    fn nothing_is_held_ready_for_a_slot_that_stays_taken_for_long() {
        let long = Standing::Computing { long: true };
        assert_eq!(wants(&[seat("", long)]), ("", 0, 0));
        assert_eq!(wants(&[seat("f", long), seat("f", COMPUTING), seat("f", long)]), ("f", 0, 1));
    }
}
