//! Hosts as machines: on, off, or on their way.

use crate::planetlab::host::Host;

/// What waking takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boot {
    /// Seconds until ready, at peak watts.
    pub(crate) seconds: f64,
}

/// Going down takes so many seconds at idle watts.
pub(crate) const SHUTDOWN_S: f64 = 60.0;

/// Where a machine is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Power {
    /// Serves guests.
    On,
    /// Boots.
    Waking,
    /// Is emptied and then goes down.
    Closing,
    /// Draws nothing.
    Off,
}

/// All machines and what they drew beyond the experiment's account.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) boot: Boot,
    /// Where each is.
    pub(crate) power: Vec<Power>,
    /// Since when, seconds; long before the day for what it begins with.
    pub(crate) since: Vec<f64>,
    /// Wakes so far.
    pub(crate) wakes: usize,
    /// Joules of boots, shutdowns and idle hosts.
    pub(crate) joules: f64,
    /// Seconds that hosts were on or waking.
    pub(crate) on_s: f64,
    /// Seconds in which a host's guests asked for more than it has.
    pub(crate) overload_s: f64,
    short: Vec<bool>,
}

/// What the day begins with has been so for long.
const LONG_AGO_S: f64 = -86_400.0;

impl Machines {
    /// These are on, the others off.
    pub(crate) fn new(hosts: usize, on: &[usize], boot: Boot) -> Self {
        let mut power = vec![Power::Off; hosts];
        for host in on {
            power[*host] = Power::On;
        }
        Self {
            boot,
            power,
            since: vec![LONG_AGO_S; hosts],
            wakes: 0,
            joules: 0.0,
            on_s: 0.0,
            overload_s: 0.0,
            short: vec![false; hosts],
        }
    }

    /// Changes a machine at `now`.
    pub(crate) fn set(&mut self, host: usize, power: Power, now: f64, facts: &Host) {
        match power {
            Power::Waking => self.wakes += 1,
            Power::Off => self.joules += facts.kind.power.watts(0.0) * SHUTDOWN_S,
            Power::On | Power::Closing => {}
        }
        self.power[host] = power;
        self.since[host] = now;
    }

    /// Accounts for the `seconds` that have passed, and looks at who is short from now on.
    ///
    /// The experiment counts no energy for a host at zero utilisation; here it idles.
    pub(crate) fn passed(&mut self, seconds: f64, hosts: &[Host], asked: impl Fn(usize) -> f64) {
        for (host, facts) in hosts.iter().enumerate() {
            let watts = match self.power[host] {
                Power::Off => 0.0,
                Power::Waking => facts.kind.power.watts(1.0),
                Power::On | Power::Closing if facts.used_before == 0.0 => {
                    facts.kind.power.watts(0.0)
                }
                Power::On | Power::Closing => 0.0,
            };
            self.joules += watts * seconds;
            if self.power[host] != Power::Off {
                self.on_s += seconds;
            }
            if self.short[host] {
                self.overload_s += seconds;
            }
            // rounding does not make a shortage
            self.short[host] = asked(host) > facts.kind.capacity() * (1.0 + 1e-9);
        }
    }
}
