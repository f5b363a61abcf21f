//! The consolidation loop the published policies share: relieve overloaded hosts, then try to
//! empty the others, placing each VM where it adds the least power.
//!
//! Source: CloudSim 3.0.3 `PowerVmAllocationPolicyMigrationAbstract`.

use std::collections::HashSet;

use anyhow::{Context as _, Result};

use crate::planetlab::policies::Policy;
use crate::planetlab::policies::plan::{Guest, Load, Plan};
use crate::planetlab::policies::select::Select;
use drover_planner::consolidate::{LoadMove, LoadView};

/// Says whether a host has too much load.
pub(crate) trait Overload {
    /// Whether a host with this load should shed VMs, or should not be given this load.
    fn overloaded(&self, load: &Load) -> bool;
}

/// A published policy: an overload rule and a selection rule around the shared loop.
#[derive(Debug)]
pub(crate) struct Baseline<O, S> {
    /// When a host is overloaded.
    pub(crate) overload: O,
    /// Which VM leaves it.
    pub(crate) select: S,
}

impl<O: Overload, S: Select> Baseline<O, S> {
    /// The allowed host where `vm` adds the least power to what the host draws now, the first of
    /// equals. The draw now does not include what the plan has added so far, and a host that is
    /// off counts as drawing its idle power: both are the original's.
    fn best_host(&self, plan: &Plan<'_>, vm: usize, barred: &HashSet<usize>) -> Option<usize> {
        let request = plan.view.guests[vm].demand;
        let mut best: Option<(f64, usize)> = None;
        for (host, planned) in plan.hosts.iter().enumerate() {
            if barred.contains(&host) || !plan.suits(host, vm, request) {
                continue;
            }
            if planned.allocated != 0.0
                && self.overload.overloaded(&plan.load_with(host, vm, request))
            {
                continue;
            }
            let facts = &plan.view.hosts[host];
            let after = facts.power.watts((planned.allocated + request) / facts.capacity);
            let added = after - facts.power.watts(facts.utilisation);
            if best.is_none_or(|(least, _)| added < least) {
                best = Some((added, host));
            }
        }
        best.map(|(_, host)| host)
    }

    /// Places `vms`, most demanding first. With `all`, either every one finds a host or the plan
    /// is left as it was and no move is returned.
    fn place_all(
        &self,
        plan: &mut Plan<'_>,
        mut vms: Vec<usize>,
        barred: &HashSet<usize>,
        all: bool,
    ) -> Vec<LoadMove> {
        let demand = |vm: usize| plan.view.guests[vm].demand;
        vms.sort_by(|&a, &b| demand(b).total_cmp(&demand(a)));
        let mut moves = Vec::new();
        for vm in vms {
            if let Some(to) = self.best_host(plan, vm, barred) {
                let request = plan.view.guests[vm].demand;
                plan.put(to, Guest { vm, claim: request, request });
                moves.push(LoadMove { guest: vm, to });
            } else if all {
                for undo in moves.drain(..) {
                    plan.take(undo.to, undo.guest);
                }
                return Vec::new();
            }
        }
        moves
    }

    /// Takes VMs off each overloaded host until it no longer is.
    fn shed(&mut self, plan: &mut Plan<'_>, overloaded: &[usize]) -> Vec<usize> {
        let mut shed = Vec::new();
        for &host in overloaded {
            loop {
                let guests: Vec<usize> =
                    plan.hosts[host].guests.iter().map(|guest| guest.vm).collect();
                let Some(vm) = self.select.pick(plan.view, &guests) else { break };
                shed.push(vm);
                plan.take(host, vm);
                if !self.overload.overloaded(&plan.hosts[host].load) {
                    break;
                }
            }
        }
        shed
    }

    /// Tries to empty hosts, least utilised first. A host that was given VMs here is not emptied
    /// in turn; one that was given VMs by the relief of overloads may be, so a VM can be moved on
    /// before it has moved, and both moves count.
    fn drain(&self, plan: &mut Plan<'_>, overloaded: &[usize]) -> Vec<LoadMove> {
        let utilisation = |host: usize| plan.view.hosts[host].utilisation;
        let off = (0..plan.hosts.len()).filter(|&host| utilisation(host) == 0.0);
        let mut no_target: HashSet<usize> = overloaded.iter().copied().chain(off).collect();
        let mut no_source = no_target.clone();
        let mut order: Vec<usize> = (0..plan.hosts.len())
            .filter(|&host| utilisation(host) > 0.0 && utilisation(host) < 1.0)
            .collect();
        order.sort_by(|&a, &b| utilisation(a).total_cmp(&utilisation(b)));
        let mut moves = Vec::new();
        for host in order {
            if no_source.contains(&host) || plan.hosts[host].guests.is_empty() {
                continue;
            }
            no_source.insert(host);
            no_target.insert(host);
            let vms = plan.hosts[host].guests.iter().map(|guest| guest.vm).collect();
            let placed = self.place_all(plan, vms, &no_target, true);
            no_source.extend(placed.iter().map(|step| step.to));
            moves.extend(placed);
        }
        moves
    }
}

impl<O: Overload, S: Select> Policy for Baseline<O, S> {
    fn place(&mut self, view: &LoadView) -> Result<Vec<usize>> {
        let mut plan = Plan::new(view);
        let nowhere = HashSet::new();
        (0..view.guests.len())
            .map(|vm| {
                let request = view.guests[vm].demand;
                let to = self.best_host(&plan, vm, &nowhere).with_context(|| {
                    let memory = view.guests[vm].memory_mb;
                    format!(
                        "the published rule has no host for VM {vm} ({request} MIPS, {memory} MB)"
                    )
                })?;
                plan.put(to, Guest { vm, claim: request, request });
                plan.quieten_last(to);
                Ok(to)
            })
            .collect()
    }

    fn replan(&mut self, view: &LoadView) -> Vec<LoadMove> {
        let mut plan = Plan::new(view);
        let overloaded: Vec<usize> = (0..plan.hosts.len())
            .filter(|&host| self.overload.overloaded(&plan.hosts[host].load))
            .collect();
        let shed = self.shed(&mut plan, &overloaded);
        let barred = overloaded.iter().copied().collect();
        let mut moves = self.place_all(&mut plan, shed, &barred, false);
        moves.extend(self.drain(&mut plan, &overloaded));
        moves
    }
}
