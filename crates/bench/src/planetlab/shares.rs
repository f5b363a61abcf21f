//! How a host divides its CPU among VMs that may ask for more than there is.
//!
//! Source: CloudSim 3.0.3 `VmSchedulerTimeSharedOverSubscription`.

/// What a VM is doing on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Running here.
    Resident,
    /// Running here while being copied elsewhere: it gets [`LEAVING_SHARE`] of its CPU.
    Leaving,
    /// Being copied here: the copy costs [`ARRIVING_SHARE`] of the VM's demand.
    Arriving,
}

/// Part of its CPU a VM keeps while it migrates.
pub(crate) const LEAVING_SHARE: f64 = 0.9;

/// Part of a migrating VM's demand that the target host spends on receiving it.
pub(crate) const ARRIVING_SHARE: f64 = 0.1;

/// One VM's claim on a host: demanded MIPS and phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Claim {
    /// Demand, MIPS.
    pub(crate) request: f64,
    /// What the VM is doing on this host.
    pub(crate) phase: Phase,
}

impl Claim {
    /// Demand capped to one core and weighted by phase, as counted against the host's capacity.
    fn need(&self, core: f64) -> f64 {
        let capped = self.request.min(core);
        if self.phase == Phase::Arriving { capped * ARRIVING_SHARE } else { capped }
    }
}

/// Allocates `capacity` MIPS to `claims`; writes each one's allocation to `granted` and returns
/// the MIPS left.
///
/// While all needs fit each VM gets its need (a leaving VM is debited in full but gets 90 %). As
/// soon as they do not, every VM is scaled by the same factor and rounded down to whole MIPS.
pub(crate) fn divide(capacity: f64, core: f64, claims: &[Claim], granted: &mut Vec<f64>) -> f64 {
    let mut free = capacity;
    let mut short = false;
    for claim in claims {
        let need = claim.need(core);
        if free >= need {
            free -= need;
        } else {
            short = true;
            free = 0.0;
        }
    }
    let scale = if short {
        capacity / claims.iter().map(|claim| claim.need(core)).sum::<f64>()
    } else {
        1.0
    };
    granted.clear();
    granted.extend(claims.iter().map(|claim| {
        let capped = claim.request.min(core);
        let part = match claim.phase {
            Phase::Resident => capped,
            Phase::Leaving => capped * LEAVING_SHARE,
            Phase::Arriving => capped * ARRIVING_SHARE,
        };
        if short { (part * scale).floor() } else { part }
    }));
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(request: f64, phase: Phase) -> Claim {
        Claim { request, phase }
    }

    #[test]
    fn everything_fits() {
        let claims = [
            claim(1000.0, Phase::Resident),
            claim(500.0, Phase::Leaving),
            claim(300.0, Phase::Arriving),
        ];
        let mut granted = Vec::new();
        let free = divide(3720.0, 1860.0, &claims, &mut granted);
        assert_eq!(granted, [1000.0, 450.0, 30.0]);
        assert_eq!(free, 3720.0 - 1530.0);
    }

    #[test]
    fn scales_and_rounds_down_when_short() {
        let claims = [claim(1500.0, Phase::Resident), claim(1500.0, Phase::Resident)];
        let mut granted = Vec::new();
        let free = divide(2000.0, 1600.0, &claims, &mut granted);
        assert_eq!((granted.as_slice(), free), ([1000.0, 1000.0].as_slice(), 0.0));
        let free = divide(2000.0, 1000.0, &claims, &mut granted);
        assert_eq!((granted.as_slice(), free), ([1000.0, 1000.0].as_slice(), 0.0));
    }
}
