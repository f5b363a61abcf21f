//! What hosts have left while guests move between them.

use std::collections::BTreeMap;

use super::super::group::LawKind;
use super::super::instance::Instance;
use super::super::loads::ROUNDING;
use super::{Leg, Pending};

/// Room on every host; a guest that moves counts on both.
#[derive(Debug, Clone)]
pub(super) struct Ledger<'i> {
    instance: &'i Instance,
    slack: Vec<f64>,
    /// Members by group, level and domain, of groups of moving guests that a hard law keeps
    /// apart.
    members: BTreeMap<(u32, usize, u32), u16>,
}

impl<'i> Ledger<'i> {
    pub(super) fn at_home(instance: &'i Instance, pending: &[Pending]) -> Self {
        let r = instance.resources;
        let mut slack: Vec<f64> =
            instance.capacity.iter().zip(&instance.base).map(|(c, b)| c - b).collect();
        for (guest, home) in instance.home.iter().enumerate() {
            let room = &mut slack[*home as usize * r..][..r];
            for (slack, need) in room.iter_mut().zip(instance.demand_of(guest)) {
                *slack -= need;
            }
        }
        let mut ledger = Self { instance, slack, members: BTreeMap::new() };
        let moving = pending.iter().flat_map(|p| &instance.member_of[p.leg.guest as usize]);
        let mut groups: Vec<u32> = moving.copied().collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            for member in &instance.groups[group as usize].members {
                ledger.count_in(group, instance.home[*member as usize], 1);
            }
        }
        ledger
    }

    pub(super) const fn instance(&self) -> &'i Instance {
        self.instance
    }

    pub(super) const fn hosts(&self) -> usize {
        self.instance.hosts()
    }

    /// Whether the guest can begin to move now.
    pub(super) fn has_room(&self, leg: Leg) -> bool {
        self.fits_into(leg, self.room(leg.to)) && self.keeps_apart(leg)
    }

    /// Whether the guest fits where so much is left.
    pub(super) fn fits_into(&self, leg: Leg, room: &[f64]) -> bool {
        let need = self.instance.demand_of(leg.guest as usize);
        need.iter().zip(room).all(|(need, slack)| *need <= slack + ROUNDING || *need <= 0.0)
    }

    /// The guest begins to move: it counts on both hosts.
    pub(super) fn arrive(&mut self, leg: Leg) {
        let instance = self.instance;
        let r = instance.resources;
        let room = &mut self.slack[leg.to as usize * r..][..r];
        for (slack, need) in room.iter_mut().zip(instance.demand_of(leg.guest as usize)) {
            *slack -= need;
        }
        self.count(leg.guest, leg.to, 1);
    }

    /// It has moved: the host it left has its room back, but for what lingers at home.
    pub(super) fn depart(&mut self, leg: Leg) {
        let left = self.left(leg);
        let r = self.instance.resources;
        self.slack[leg.from as usize * r..][..r].copy_from_slice(&left);
        self.count(leg.guest, leg.from, -1);
    }

    /// What the host has left once the guest has gone.
    pub(super) fn left(&self, leg: Leg) -> Vec<f64> {
        let guest = leg.guest as usize;
        let home = self.instance.home[guest] == leg.from;
        let need = self.instance.demand_of(guest).iter().enumerate();
        need.zip(self.room(leg.from))
            .map(|((r, need), slack)| {
                slack + need - if home { self.instance.lingering(guest, r) } else { 0.0 }
            })
            .collect()
    }

    /// What is still to come to each host, flat like the capacity.
    pub(super) fn promised(&self, pending: &[Pending]) -> Vec<f64> {
        let r = self.instance.resources;
        let mut promised = vec![0.0; self.slack.len()];
        for pending in pending {
            let need = self.instance.demand_of(pending.leg.guest as usize);
            let room = &mut promised[pending.leg.to as usize * r..][..r];
            room.iter_mut().zip(need).for_each(|(promised, need)| *promised += need);
        }
        promised
    }

    /// The scarcest part of the target's capacity that stays free beside what is promised.
    pub(super) fn spare(&self, leg: Leg, promised: Option<&[f64]>) -> f64 {
        let (host, r) = (leg.to as usize, self.instance.resources);
        let need = self.instance.demand_of(leg.guest as usize);
        (0..r)
            .map(|i| {
                let promised = promised.map_or(0.0, |promised| promised[host * r + i]);
                let left = self.slack[host * r + i] - need[i] - promised;
                left / self.instance.capacity[host * r + i].max(1.0)
            })
            .filter(|part| !part.is_nan())
            .fold(f64::INFINITY, f64::min)
    }

    /// The largest part of the target's capacity that the guest needs.
    pub(super) fn part_needed(&self, leg: Leg) -> f64 {
        let r = self.instance.resources;
        let capacity = &self.instance.capacity[leg.to as usize * r..][..r];
        let need = self.instance.demand_of(leg.guest as usize);
        need.iter().zip(capacity).map(|(need, all)| need / all.max(1.0)).fold(0.0, f64::max)
    }

    fn room(&self, host: u32) -> &[f64] {
        &self.slack[host as usize * self.instance.resources..][..self.instance.resources]
    }

    fn keeps_apart(&self, leg: Leg) -> bool {
        let instance = self.instance;
        instance.member_of[leg.guest as usize].iter().all(|group| {
            instance.groups[*group as usize].laws.iter().all(|law| {
                let LawKind::Apart { most } = law.kind else { return true };
                let domains = &instance.domains[law.level];
                let (out, into) = (domains[leg.from as usize], domains[leg.to as usize]);
                let there = self.members.get(&(*group, law.level, into)).copied().unwrap_or(0);
                !law.is_hard() || out == into || there < most
            })
        })
    }

    fn count(&mut self, guest: u32, host: u32, by: i16) {
        let instance = self.instance;
        for group in &instance.member_of[guest as usize] {
            self.count_in(*group, host, by);
        }
    }

    fn count_in(&mut self, group: u32, host: u32, by: i16) {
        let instance = self.instance;
        let mut counted = Vec::new();
        for law in &instance.groups[group as usize].laws {
            let apart = law.is_hard() && matches!(law.kind, LawKind::Apart { .. });
            // Two laws of one level share a count.
            if apart && !counted.contains(&law.level) {
                counted.push(law.level);
                let domain = instance.domains[law.level][host as usize];
                let members = self.members.entry((group, law.level, domain)).or_insert(0);
                *members = members.saturating_add_signed(by);
            }
        }
    }
}
