//! A cluster as a TOML file.
//!
//! ```toml
//! [[host]]
//! name = "h"            # with count: h1, h2, …
//! count = 4
//! cores = 16
//! memory = "64GiB"
//! power = "90..250"     # idle..peak watts, or the name of a curve; default 100..250
//! link = "1.15GB"       # bytes per second for migrations, each way
//! overhead_cores = 0.2  # what the host itself uses
//!
//! [[guest]]
//! name = "vm1"
//! vcpus = 4
//! memory = "8GiB"
//! host = "h1"           # without it: hosts take turns
//!
//! [default_guest]       # for guests that only the trace names
//! vcpus = 2
//! memory = "2GiB"
//! ```

use std::collections::BTreeSet;

use drover_model::{Bytes, GuestId, HostId, Name, parse_bytes};
use serde::Deserialize;

use super::ReadError;
use crate::cluster::{Cluster, DEFAULT_LINK, GuestSpec, HostSpec, limits};
use crate::power::PowerCurve;

const FORM: &str = "docs/guide/simulate.md shows a cluster file with every field";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    host: Vec<HostTable>,
    #[serde(default)]
    guest: Vec<GuestTable>,
    default_guest: Option<DefaultGuest>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostTable {
    name: Name,
    count: Option<usize>,
    cores: f64,
    memory: String,
    power: Option<String>,
    link: Option<String>,
    #[serde(default)]
    overhead_cores: f64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GuestTable {
    name: Name,
    vcpus: u32,
    memory: String,
    host: Option<Name>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultGuest {
    vcpus: u32,
    memory: String,
}

/// Reads the file's text; errors carry TOML's own line.
pub fn cluster_file(file: &str, text: &str) -> Result<ClusterFile, ReadError> {
    toml::from_str(text).map_err(|error| {
        let wrong = ReadError::of(file, error.message(), FORM);
        match error.span() {
            Some(span) => wrong.at(text.get(..span.start).unwrap_or("").lines().count().max(1)),
            None => wrong,
        }
    })
}

impl ClusterFile {
    /// The cluster with the guests of a trace. Guests without a host of their own are given
    /// to the hosts in turn.
    pub fn cluster<'a>(
        &self,
        file: &str,
        traced: impl Iterator<Item = &'a Name>,
    ) -> Result<Cluster, ReadError> {
        let wrong = |problem: String| ReadError::of(file, problem, FORM);
        let hosts = self.hosts().map_err(wrong)?;
        if hosts.is_empty() {
            return Err(wrong("there is no host".to_owned()));
        }
        let mut guests = self.guest.clone();
        let listed: BTreeSet<&Name> = self.guest.iter().map(|guest| &guest.name).collect();
        for name in traced.filter(|name| !listed.contains(name)) {
            let Some(default) = &self.default_guest else {
                let text = format!("the trace has guest `{name}`, and the file has not");
                let cure = "add it as [[guest]], or add [default_guest] with vcpus and memory";
                return Err(ReadError::of(file, text, cure));
            };
            let (vcpus, memory) = (default.vcpus, default.memory.clone());
            guests.push(GuestTable { name: name.clone(), vcpus, memory, host: None });
        }
        let mut turn = hosts.iter().cycle();
        let mut specs = Vec::new();
        for (number, guest) in (1u128..).zip(guests) {
            let host = match &guest.host {
                Some(name) => hosts.iter().find(|host| host.name == *name),
                None => turn.next(),
            };
            let host = host.ok_or_else(|| {
                let name = guest.host.clone().unwrap_or_default();
                wrong(format!(
                    "guest `{}` is on `{name}`, which is no host of the file",
                    guest.name
                ))
            })?;
            specs.push(GuestSpec {
                id: GuestId::from_u128(number),
                vcpus: guest.vcpus,
                memory: memory("guest", &guest.name, &guest.memory).map_err(wrong)?.mib(),
                host: host.id,
                name: guest.name,
            });
        }
        Cluster::new(hosts, specs).map_err(|error| wrong(error.to_string()))
    }

    fn hosts(&self) -> Result<Vec<HostSpec>, String> {
        let mut hosts: Vec<HostSpec> = Vec::new();
        for table in &self.host {
            let power = table.power.as_ref().map_or(Ok(PowerCurve::default()), |text| text.parse());
            let link = match &table.link {
                Some(text) => memory("host", &table.name, text)?.0 as f64,
                None => DEFAULT_LINK,
            };
            let spec = HostSpec {
                id: HostId::from_u128(0),
                name: table.name.clone(),
                cores: table.cores,
                memory: memory("host", &table.name, &table.memory)?,
                overhead_cores: table.overhead_cores,
                power: power.map_err(|error| format!("host `{}`: {error}", table.name))?,
                link,
            };
            let count = table.count.unwrap_or(1);
            if hosts.len().saturating_add(count) > limits::MAX_HOSTS {
                return Err(format!("there are more than {} hosts", limits::MAX_HOSTS));
            }
            for number in 1..=count {
                let id = HostId::from_u128(hosts.len() as u128 + 1);
                let name = match table.count {
                    Some(_) => format!("{}{number}", table.name),
                    None => table.name.clone(),
                };
                hosts.push(HostSpec { id, name, ..spec.clone() });
            }
        }
        Ok(hosts)
    }
}

fn memory(what: &str, name: &str, text: &str) -> Result<Bytes, String> {
    parse_bytes(text).map_err(|error| format!("{what} `{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[host]]
        name = "h"
        count = 2
        cores = 16
        memory = "64GiB"
        power = "hp-ml110-g5"
        [[host]]
        name = "big"
        cores = 64
        memory = "1TiB"
        link = "2.5GB"
        [[guest]]
        name = "db"
        vcpus = 8
        memory = "32GiB"
        host = "big"
        [default_guest]
        vcpus = 2
        memory = "2GiB"
    "#;

    #[test]
    fn hosts_are_counted_out_and_guests_of_the_trace_take_turns() {
        let traced = ["db", "vm1", "vm2", "vm3", "vm4"].map(str::to_owned);
        let cluster = cluster_file("c.toml", GOOD).unwrap().cluster("c.toml", traced.iter());
        let cluster = cluster.unwrap();
        let names: Vec<&str> = cluster.hosts().iter().map(|host| host.name.as_str()).collect();
        assert_eq!(names, ["h1", "h2", "big"]);
        let home = |guest: &str| {
            let home = cluster.guest_named(guest).unwrap().host;
            cluster.hosts().iter().find(|host| host.id == home).unwrap().name.clone()
        };
        assert_eq!(["db", "vm1", "vm2", "vm3", "vm4"].map(home), ["big", "h1", "h2", "big", "h1"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let of = |text: &str| {
            let traced = ["vm9".to_owned()];
            let read = cluster_file("c.toml", text);
            read.and_then(|file| file.cluster("c.toml", traced.iter())).unwrap_err()
        };
        let again = "[[guest]]\nname = \"db\"\nvcpus = 1\nmemory = \"1GiB\"\n";
        for (from, to, part) in [
            ("memory = \"1TiB\"", "memory = \"1 parsec\"", "parsec"),
            ("hp-ml110-g5", "abacus", "abacus"),
            ("host = \"big\"", "host = \"small\"", "small"),
            ("cores = 64", "cores = 0", "cores"),
            ("[default_guest]", &format!("{again}[default_guest]"), "twice"),
            ("[default_guest]", "[[host]]\nname = \"x\"\ncores = 1\n[default_guest]", "missing"),
        ] {
            let error = of(&GOOD.replace(from, to));
            assert!(error.to_string().contains(part), "{part}? {error}");
            assert!(!error.cure.is_empty());
        }
        let error = of(&GOOD.replace("cores = 64", "cores = many"));
        assert_eq!(error.place.line, Some(10), "{error}");
        let lonely = GOOD.split("[default_guest]").next().unwrap();
        assert!(of(lonely).to_string().contains("vm9"));
    }
}
