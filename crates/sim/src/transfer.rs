//! Migrations share the links of their hosts: a fluid model.
//!
//! A link carries so many bytes each way; the transfers that leave a host share one way
//! evenly, those that enter it the other. A transfer runs at the smaller of its two parts.
//! Not known here: switches between the hosts, and what else uses the links.

/// A migration's memory on its way. Hosts are numbers of the caller's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Transfer {
    /// Which operation it belongs to.
    pub(crate) operation: usize,
    /// Source.
    pub(crate) from: usize,
    /// Target.
    pub(crate) to: usize,
    /// Bytes still to send.
    pub(crate) left: f64,
}

/// Below this many bytes a transfer is done: rounding, not data.
const NOTHING: f64 = 1e-3;

/// Bytes per second of each transfer.
pub(crate) fn rates(transfers: &[Transfer], link: impl Fn(usize) -> f64) -> Vec<f64> {
    let part = |host: usize, end: fn(&Transfer) -> usize| {
        let sharing = transfers.iter().filter(|other| end(other) == host).count();
        link(host) / sharing.max(1) as f64
    };
    let rate = |one: &Transfer| part(one.from, |t| t.from).min(part(one.to, |t| t.to));
    transfers.iter().map(rate).collect()
}

/// Seconds until the first transfer is done at these rates.
pub(crate) fn first_done(transfers: &[Transfer], rates: &[f64]) -> Option<f64> {
    transfers
        .iter()
        .zip(rates)
        .map(|(transfer, rate)| transfer.left.max(0.0) / rate)
        .min_by(f64::total_cmp)
}

/// Sends for so many seconds; takes out and returns the operations whose transfer is done.
pub(crate) fn send(transfers: &mut Vec<Transfer>, rates: &[f64], seconds: f64) -> Vec<usize> {
    for (transfer, rate) in transfers.iter_mut().zip(rates) {
        transfer.left -= rate * seconds;
    }
    let done = transfers.iter().filter(|one| one.left <= NOTHING).map(|one| one.operation);
    let done = done.collect();
    transfers.retain(|one| one.left > NOTHING);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_share_links_and_the_narrower_end_decides() {
        let one = |operation, from, to| Transfer { operation, from, to, left: 100.0 };
        let link = |host| if host == 3 { 5.0 } else { 10.0 };
        let mut all = vec![one(0, 1, 2), one(1, 1, 3), one(2, 4, 2)];
        let rates = rates(&all, link);
        assert_eq!(rates, [5.0, 5.0, 5.0]);
        assert_eq!(super::rates(&all[2..], link), [10.0], "alone it has the whole link");
        assert_eq!(first_done(&all, &rates), Some(20.0));
        assert!(send(&mut all, &rates, 10.0).is_empty());
        assert_eq!(all[0].left, 50.0);
        assert_eq!(send(&mut all, &rates, 10.0), [0, 1, 2]);
        assert!(all.is_empty());
        assert_eq!(first_done(&all, &[]), None);
    }
}
