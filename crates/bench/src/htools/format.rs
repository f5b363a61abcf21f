//! Ganeti's text format (`htools -t FILE`): five sections divided by one empty line each,
//! columns divided by `|`. Lines that are not understood are kept as they are.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

/// A file: its lines, and what was read from the node and instance sections.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct File {
    pub(crate) groups: Vec<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) instances: Vec<VirtualMachine>,
    pub(crate) tags: Vec<String>,
    pub(crate) policies: Vec<String>,
}

/// A line of the node section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) columns: Vec<String>,
    pub(crate) name: String,
    /// MiB; 0 when unknown.
    pub(crate) total_memory: f64,
    /// MiB that the node itself uses.
    pub(crate) node_memory: f64,
    pub(crate) free_memory: f64,
    pub(crate) total_disk: f64,
    pub(crate) free_disk: f64,
    pub(crate) cpus: f64,
    pub(crate) offline: bool,
    pub(crate) group: String,
    pub(crate) spindles: f64,
    pub(crate) tags: Vec<String>,
    /// Processors that the node itself uses.
    pub(crate) node_cpus: f64,
    pub(crate) cpu_speed: f64,
}

/// A line of the instance section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VirtualMachine {
    pub(crate) columns: Vec<String>,
    pub(crate) name: String,
    /// MiB.
    pub(crate) memory: f64,
    pub(crate) disk: f64,
    pub(crate) vcpus: f64,
    pub(crate) running: bool,
    /// Set aside by the administrator: its processors are free.
    pub(crate) set_aside: bool,
    pub(crate) auto_balance: bool,
    /// Number of its node.
    pub(crate) primary: usize,
    pub(crate) template: String,
    pub(crate) tags: Vec<String>,
    pub(crate) spindle_use: f64,
}

/// Templates whose disks every node reaches: the guest may run on any node.
const EXTERNAL: [&str; 5] = ["ext", "rbd", "sharedfile", "gluster", "blockdev"];
/// Column of the free memory and of the primary node.
const FREE_MEMORY: usize = 3;
const PRIMARY: usize = 6;
const SECONDARY: usize = 7;

impl VirtualMachine {
    /// Whether it can run on any node.
    pub(crate) fn is_mobile(&self) -> bool {
        EXTERNAL.contains(&self.template.as_str())
    }
}

/// Reads a file.
pub(crate) fn read(text: &str) -> anyhow::Result<File> {
    let mut sections: Vec<Vec<(usize, &str)>> = vec![Vec::new()];
    for (number, line) in (1..).zip(text.lines()) {
        match (line.is_empty(), sections.last_mut()) {
            (false, Some(section)) => section.push((number, line)),
            _ => sections.push(Vec::new()),
        }
    }
    ensure!(
        sections.len() >= 3,
        "{} section(s) divided by empty lines; groups, nodes and instances are needed",
        sections.len()
    );
    if let Some((number, line)) = sections.iter().skip(5).flatten().next() {
        bail!("line {number}: `{line}` after the fifth section, which is the last");
    }
    let nodes = each(&sections[1], "node", node)?;
    let mut numbers = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        let twice = numbers.insert(node.name.clone(), number);
        ensure!(twice.is_none(), "the node {} is there twice", node.name);
    }
    let instances = each(&sections[2], "instance", |columns| virtual_machine(columns, &numbers))?;
    let kept = |number: usize| {
        let lines = sections.get(number).into_iter().flatten();
        lines.map(|(_, line)| (*line).to_owned()).collect()
    };
    Ok(File { groups: kept(0), nodes, instances, tags: kept(3), policies: kept(4) })
}

fn each<T>(
    lines: &[(usize, &str)],
    what: &str,
    read: impl Fn(Vec<String>) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    lines
        .iter()
        .map(|(number, line)| {
            let columns = line.split('|').map(str::to_owned).collect();
            read(columns).with_context(|| format!("line {number}, {what} `{line}`"))
        })
        .collect()
}

fn node(columns: Vec<String>) -> anyhow::Result<Node> {
    ensure!(columns.len() >= 9, "{} columns; a node has at least 9", columns.len());
    Ok(Node {
        name: columns[0].clone(),
        total_memory: number(&columns, 1)?,
        node_memory: number(&columns, 2)?,
        free_memory: number(&columns, FREE_MEMORY)?,
        total_disk: number(&columns, 4)?,
        free_disk: number(&columns, 5)?,
        cpus: number(&columns, 6)?,
        offline: columns[7] == "Y",
        group: columns[8].clone(),
        spindles: if columns.len() > 9 { number(&columns, 9)? } else { 1.0 },
        tags: tags(&columns, 10),
        node_cpus: if columns.len() > 13 { number(&columns, 13)? } else { 1.0 },
        cpu_speed: if columns.len() > 14 { number(&columns, 14)? } else { 1.0 },
        columns,
    })
}

fn virtual_machine(
    columns: Vec<String>,
    nodes: &BTreeMap<String, usize>,
) -> anyhow::Result<VirtualMachine> {
    ensure!(columns.len() >= 9, "{} columns; an instance has at least 9", columns.len());
    let primary = nodes
        .get(&columns[PRIMARY])
        .with_context(|| format!("there is no node `{}`", columns[PRIMARY]))?;
    let running = columns[4].trim();
    Ok(VirtualMachine {
        name: columns[0].clone(),
        memory: number(&columns, 1)?,
        disk: number(&columns, 2)?,
        vcpus: number(&columns, 3)?,
        running: !running.contains("down") && running != "ADMIN_offline",
        set_aside: running == "ADMIN_offline",
        auto_balance: columns[5] == "Y",
        primary: *primary,
        template: columns[8].clone(),
        tags: tags(&columns, 9),
        spindle_use: if columns.len() > 10 { number(&columns, 10)? } else { 1.0 },
        columns,
    })
}

fn tags(columns: &[String], at: usize) -> Vec<String> {
    let text = columns.get(at).map_or("", String::as_str);
    text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

fn number(columns: &[String], at: usize) -> anyhow::Result<f64> {
    let text = columns[at].trim();
    let number: f64 =
        text.parse().with_context(|| format!("column {} is `{text}`, not a number", at + 1))?;
    if !number.is_finite() || number < 0.0 {
        bail!("column {} cannot be {text}", at + 1);
    }
    Ok(number)
}

impl File {
    /// Whether an instance has a second node that holds its disks.
    pub(crate) fn has_secondaries(&self) -> bool {
        self.instances.iter().any(|machine| !machine.columns[SECONDARY].is_empty())
    }

    /// The file with every instance on the node that `at` says, and free memory with it.
    pub(crate) fn moved(&self, at: &[u32]) -> Self {
        let mut file = self.clone();
        for (machine, to) in file.instances.iter_mut().zip(at) {
            let to = *to as usize;
            if to != machine.primary {
                file.nodes[machine.primary].free_memory += machine.memory;
                file.nodes[to].free_memory -= machine.memory;
                machine.primary = to;
                machine.columns[PRIMARY].clone_from(&file.nodes[to].name);
            }
        }
        for node in &mut file.nodes {
            node.columns[FREE_MEMORY] = format!("{}", node.free_memory);
        }
        file
    }
}

impl std::fmt::Display for File {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = self.nodes.iter().map(|node| node.columns.join("|")).collect();
        let instances = self.instances.iter().map(|machine| machine.columns.join("|")).collect();
        let sections = [&self.groups, &nodes, &instances, &self.tags, &self.policies];
        for (number, lines) in sections.into_iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            for line in lines {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    }
}
