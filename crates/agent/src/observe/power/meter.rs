//! Reads the source in use, and knows which sources there are.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use drover_model::PowerSource;
use tokio::sync::watch;

use super::own_bmc::OwnBmcWatts;
use super::rapl::Rapl;
use super::{Draw, PowerSnapshot, battery, hwmon};
use crate::config::PowerConfig;

/// How often better sources are looked for while one is in use: a module that is loaded, a
/// laptop that is unplugged. Looking reads every sensor, and an ACPI power meter may take a
/// tenth of a second to answer. A source that fails is replaced at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Measures what the host draws.
#[derive(Debug)]
pub struct PowerMeter {
    config: PowerConfig,
    class: PathBuf,
    own_bmc: Option<Arc<OwnBmcWatts>>,
    present: watch::Sender<Vec<PowerSource>>,
    looked: Mutex<Option<Instant>>,
}

impl PowerMeter {
    /// A meter of this machine. Nothing is read yet.
    pub fn new(config: PowerConfig) -> Self {
        Self::below(config, "/sys/class".into())
    }

    /// A meter that reads below another directory than `/sys/class`.
    pub fn below(config: PowerConfig, class: PathBuf) -> Self {
        let (present, _) = watch::channel(Vec::new());
        Self { config, class, own_bmc: None, present, looked: Mutex::default() }
    }

    /// With what this machine's own BMC says.
    #[must_use]
    pub fn with_own_bmc(self, own_bmc: Arc<OwnBmcWatts>) -> Self {
        Self { own_bmc: Some(own_bmc), ..self }
    }

    /// The sources that answer, the one in use first, and every change of them.
    pub fn present(&self) -> watch::Receiver<Vec<PowerSource>> {
        self.present.subscribe()
    }

    /// Looks for sources now. Blocks for as long as the sensors take.
    pub fn look(&self) -> Vec<PowerSource> {
        let rapl = self.rapl();
        let sources = self.config.sources.iter().copied();
        let found: Vec<PowerSource> =
            sources.filter(|source| self.draw(*source, &rapl).is_some()).collect();
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.present.send_if_modified(|known| {
            let changed = *known != found;
            known.clone_from(&found);
            changed
        });
        found
    }

    /// Reads the source in use; when it does not answer, the next one that does. `steady` tells
    /// the time by the snapshot's clock. Blocks for as long as the sensors take.
    pub fn read(&self, steady: impl Fn() -> Duration) -> PowerSnapshot {
        if self.is_due() {
            self.look();
        }
        let at = steady();
        let rapl = self.rapl();
        let used = self.use_first(&rapl).or_else(|| {
            let had_one = !self.present.borrow().is_empty();
            had_one.then(|| self.look()).and_then(|_| self.use_first(&rapl))
        });
        PowerSnapshot { steady: at, used, packages: rapl.packages }
    }

    fn use_first(&self, rapl: &Rapl) -> Option<(PowerSource, Draw)> {
        let source = *self.present.borrow().first()?;
        Some((source, self.draw(source, rapl)?))
    }

    fn is_due(&self) -> bool {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL)
    }

    /// Who does not want RAPL does not want its packages either.
    fn rapl(&self) -> Rapl {
        let wanted = [PowerSource::Psys, PowerSource::Rapl];
        if self.config.sources.iter().any(|source| wanted.contains(source)) {
            Rapl::read(&self.class.join("powercap"))
        } else {
            Rapl::default()
        }
    }

    fn draw(&self, source: PowerSource, rapl: &Rapl) -> Option<Draw> {
        let energy =
            |counters: super::Counters| (!counters.is_empty()).then_some(Draw::Energy(counters));
        match source {
            PowerSource::Psys => energy(rapl.platform.clone()),
            // Memory alone would be taken for the machine.
            PowerSource::Rapl if rapl.packages.is_empty() => None,
            PowerSource::Rapl => energy(rapl.packages_and_memory()),
            PowerSource::Hwmon => {
                hwmon::watts(&self.class.join("hwmon"), &self.config.hwmon).map(Draw::Watts)
            }
            PowerSource::Battery => {
                battery::watts(&self.class.join("power_supply")).map(Draw::Watts)
            }
            PowerSource::Model => Some(Draw::Curve(self.config.curve)),
            PowerSource::Ipmi => {
                self.own_bmc.as_ref()?.fresh(Instant::now().into()).map(Draw::Watts)
            }
            // Asked by the controller.
            PowerSource::Redfish => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::write;
    use super::*;
    use crate::config::Config;

    fn meter(config: &str, class: &std::path::Path) -> PowerMeter {
        PowerMeter::below(Config::parse(config).unwrap().power, class.to_owned())
    }

    fn source(meter: &PowerMeter) -> Option<PowerSource> {
        meter.read(Duration::default).used.map(|(source, _)| source)
    }

    const PACKAGE: [(&str, &str); 3] = [
        ("powercap/intel-rapl:0/name", "package-0"),
        ("powercap/intel-rapl:0/energy_uj", "5"),
        ("powercap/intel-rapl:0/max_energy_range_uj", "9"),
    ];
    const METER: [(&str, &str); 2] =
        [("hwmon/hwmon0/name", "power_meter"), ("hwmon/hwmon0/power1_average", "200000000")];

    #[test]
    fn the_most_trusted_that_answers_is_used_and_all_are_told() {
        use PowerSource::{Hwmon, Model, Rapl};
        let class = tempfile::tempdir().unwrap();
        write(class.path(), &PACKAGE);
        write(class.path(), &METER);
        for (config, expected) in [
            ("", vec![Rapl, Hwmon, Model]),
            ("[power]\nsources = [\"hwmon\", \"rapl\"]", vec![Hwmon, Rapl]),
            ("[power]\nsources = [\"battery\"]", vec![]),
            ("[power]\nsources = []", vec![]),
        ] {
            let meter = meter(config, class.path());
            assert_eq!(meter.look(), expected, "{config}");
            assert_eq!(*meter.present().borrow(), expected, "{config}");
            assert_eq!(source(&meter), expected.first().copied(), "{config}");
        }
    }

    #[tokio::test]
    async fn the_hosts_own_bmc_comes_first_where_it_answers() {
        use PowerSource::{Ipmi, Model, Rapl};
        let class = tempfile::tempdir().unwrap();
        write(class.path(), &PACKAGE);
        let bmc = drover_ports::memory::MemoryOwnBmc::default();
        bmc.tell(Ok(137.0));
        let watts = Arc::new(OwnBmcWatts::new(Arc::new(bmc)));
        let meter = meter("", class.path()).with_own_bmc(Arc::clone(&watts));
        assert_eq!(meter.look(), [Rapl, Model], "it has said nothing yet");
        watts.ask().await;
        assert_eq!(meter.look(), [Ipmi, Rapl, Model]);
        let read = meter.read(Duration::default);
        assert_eq!((read.used, read.packages.len()), (Some((Ipmi, Draw::Watts(137.0))), 1));
    }

    #[test]
    fn a_source_that_fails_is_replaced_at_once_and_that_is_told() {
        let class = tempfile::tempdir().unwrap();
        write(class.path(), &PACKAGE);
        let meter = meter("", class.path());
        assert_eq!(source(&meter), Some(PowerSource::Rapl));
        let mut told = meter.present();
        std::fs::remove_dir_all(class.path().join("powercap")).unwrap();
        let fallen_back = meter.read(Duration::default);
        assert!(matches!(fallen_back.used, Some((PowerSource::Model, Draw::Curve(_)))));
        assert!(told.has_changed().unwrap() && *told.borrow_and_update() == [PowerSource::Model]);
        // It is back at the next look.
        write(class.path(), &PACKAGE);
        assert_eq!(source(&meter), Some(PowerSource::Model));
        meter.look();
        assert_eq!(source(&meter), Some(PowerSource::Rapl));
    }

    #[test]
    fn packages_are_read_beside_another_source_unless_rapl_is_unwanted() {
        let class = tempfile::tempdir().unwrap();
        write(class.path(), &PACKAGE);
        write(class.path(), &METER);
        for (sources, packages) in [("\"hwmon\", \"rapl\"", 1), ("\"hwmon\"", 0)] {
            let meter = meter(&format!("[power]\nsources = [{sources}]"), class.path());
            let read = meter.read(Duration::default);
            assert_eq!(read.packages.len(), packages, "{sources}");
            assert_eq!(read.used, Some((PowerSource::Hwmon, Draw::Watts(200.0))), "{sources}");
        }
    }
}
