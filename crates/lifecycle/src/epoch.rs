//! Which commands an agent may obey: none of an epoch below the highest that it has seen.

use drover_model::Epoch;

/// What an epoch means to an agent that has seen others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is the highest so far: make it durable before anything is done under it.
    New,
    /// Seen before, and none that is higher.
    Known,
    /// A higher one has been seen: the command comes from somebody who does not know yet
    /// that the guest's owner has changed.
    Stale {
        /// The highest seen.
        seen: Epoch,
    },
}

/// Whether a command of epoch `asked` may pass an agent that has seen `seen` for its guest.
pub fn admission(seen: Option<Epoch>, asked: Epoch) -> Admission {
    match seen {
        Some(seen) if seen > asked => Admission::Stale { seen },
        Some(seen) if seen == asked => Admission::Known,
        _ => Admission::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_epoch_below_the_highest_is_stale() {
        for (seen, asked, expected) in [
            (None, 1, Admission::New),
            (Some(Epoch(1)), 2, Admission::New),
            (Some(Epoch(2)), 2, Admission::Known),
            (Some(Epoch(3)), 2, Admission::Stale { seen: Epoch(3) }),
        ] {
            assert_eq!(admission(seen, Epoch(asked)), expected, "{seen:?} {asked}");
        }
    }
}
