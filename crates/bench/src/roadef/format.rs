//! The contest's files: whole numbers between blanks.

use anyhow::{Context as _, bail, ensure};

/// A model: what the file says, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) resources: Vec<Resource>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) services: Vec<Service>,
    pub(crate) processes: Vec<Process>,
    pub(crate) balances: Vec<Balance>,
    pub(crate) process_weight: i64,
    pub(crate) service_weight: i64,
    pub(crate) machine_weight: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) transient: bool,
    pub(crate) weight: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) neighbourhood: u32,
    pub(crate) location: u32,
    pub(crate) capacity: Vec<i64>,
    pub(crate) safety: Vec<i64>,
    pub(crate) move_cost: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) spread: u16,
    pub(crate) depends_on: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) service: u32,
    pub(crate) needs: Vec<i64>,
    pub(crate) move_cost: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) of: usize,
    pub(crate) with: usize,
    pub(crate) target: i64,
    pub(crate) weight: i64,
}

/// Most of anything that a file may announce: ten times the contest's largest.
const MOST: usize = 1_000_000;

/// Largest number: the contest's are below 2^40.
const LARGEST: i64 = 1 << 40;

struct Numbers<'t> {
    words: std::str::SplitAsciiWhitespace<'t>,
    read: usize,
}

impl Numbers<'_> {
    fn number(&mut self) -> anyhow::Result<i64> {
        let word = self.words.next().with_context(|| {
            format!("the file ends after {} numbers; more were announced", self.read)
        })?;
        self.read += 1;
        let number: i64 = word
            .parse()
            .with_context(|| format!("number {}, `{word}`, is no whole number", self.read))?;
        ensure!(
            (-LARGEST..=LARGEST).contains(&number),
            "number {}, {number}, is beyond {LARGEST}, up to which sums are exact",
            self.read
        );
        Ok(number)
    }

    fn of<T: TryFrom<i64>>(&mut self, what: &str) -> anyhow::Result<T> {
        let number = self.number()?;
        T::try_from(number)
            .ok()
            .with_context(|| format!("number {}: {what} cannot be {number}", self.read))
    }

    fn count(&mut self, what: &str) -> anyhow::Result<usize> {
        let count: usize = self.of(what)?;
        ensure!(count <= MOST, "{count} {what}; at most {MOST} are read");
        Ok(count)
    }

    fn list(&mut self, count: usize) -> anyhow::Result<Vec<i64>> {
        (0..count).map(|_| self.number()).collect()
    }

    fn quantities(&mut self, count: usize, what: &str) -> anyhow::Result<Vec<i64>> {
        let list = self.list(count)?;
        match list.iter().find(|number| **number < 0) {
            Some(number) => bail!("{what} before number {} cannot be {number}", self.read + 1),
            None => Ok(list),
        }
    }

    fn end(mut self) -> anyhow::Result<()> {
        match self.words.next() {
            Some(word) => bail!("`{word}` after the last number that was announced"),
            None => Ok(()),
        }
    }
}

/// Reads a model.
pub(crate) fn model(text: &str) -> anyhow::Result<Model> {
    let mut file = Numbers { words: text.split_ascii_whitespace(), read: 0 };
    let count = file.count("resources")?;
    let resources = (0..count)
        .map(|_| Ok(Resource { transient: file.number()? != 0, weight: file.number()? }))
        .collect::<anyhow::Result<Vec<Resource>>>()?;
    let count = file.count("machines")?;
    let machines = (0..count)
        .map(|_| {
            Ok(Machine {
                neighbourhood: file.of("a neighbourhood")?,
                location: file.of("a location")?,
                capacity: file.quantities(resources.len(), "a capacity")?,
                safety: file.quantities(resources.len(), "a safety capacity")?,
                move_cost: file.quantities(count, "a move cost")?,
            })
        })
        .collect::<anyhow::Result<Vec<Machine>>>()?;
    let count = file.count("services")?;
    let services = (0..count)
        .map(|_| {
            let spread = file.of("a spread")?;
            let many = file.count("dependencies")?;
            let depends_on =
                (0..many).map(|_| file.of("a service")).collect::<anyhow::Result<Vec<u32>>>()?;
            Ok(Service { spread, depends_on })
        })
        .collect::<anyhow::Result<Vec<Service>>>()?;
    let count = file.count("processes")?;
    let processes = (0..count)
        .map(|_| {
            Ok(Process {
                service: file.of("a service")?,
                needs: file.quantities(resources.len(), "a need")?,
                move_cost: file.number()?,
            })
        })
        .collect::<anyhow::Result<Vec<Process>>>()?;
    let count = file.count("balance costs")?;
    let balances = (0..count)
        .map(|_| {
            Ok(Balance {
                of: file.of("a resource")?,
                with: file.of("a resource")?,
                target: file.number()?,
                weight: file.number()?,
            })
        })
        .collect::<anyhow::Result<Vec<Balance>>>()?;
    let (process_weight, service_weight, machine_weight) =
        (file.number()?, file.number()?, file.number()?);
    file.end()?;
    let model = Model {
        resources,
        machines,
        services,
        processes,
        balances,
        process_weight,
        service_weight,
        machine_weight,
    };
    check(&model)?;
    Ok(model)
}

fn check(model: &Model) -> anyhow::Result<()> {
    let services = model.services.len();
    let known = |service: &u32| (*service as usize) < services;
    ensure!(
        model.processes.iter().all(|process| known(&process.service)),
        "a process names a service that is not there"
    );
    ensure!(
        model.services.iter().all(|service| service.depends_on.iter().all(known)),
        "a service depends on one that is not there"
    );
    let resources = model.resources.len();
    ensure!(
        model.balances.iter().all(|cost| cost.of < resources && cost.with < resources),
        "a balance cost names a resource that is not there"
    );
    ensure!(!model.machines.is_empty(), "there is no machine");
    Ok(())
}

/// Reads an assignment for a model.
pub(crate) fn assignment(text: &str, model: &Model) -> anyhow::Result<Vec<u32>> {
    let mut file = Numbers { words: text.split_ascii_whitespace(), read: 0 };
    let at = (0..model.processes.len())
        .map(|_| {
            let machine: u32 = file.of("a machine")?;
            ensure!(
                (machine as usize) < model.machines.len(),
                "number {}: there is no machine {machine}",
                file.read
            );
            Ok(machine)
        })
        .collect::<anyhow::Result<Vec<u32>>>()?;
    file.end()?;
    Ok(at)
}
