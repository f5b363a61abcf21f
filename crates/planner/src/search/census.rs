//! How many members of each group are in each domain.

use super::group::{Law, LawKind};
use super::instance::{Instance, NONE};
use super::state::{count, index};

/// Counts by group and domain, and what the laws cost.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    counts: Vec<u16>,
    /// Where the counts of a group at a level begin; `NONE` when no law needs them.
    rows: Vec<u32>,
    /// Domains in which a group has members, by group and level.
    distinct: Vec<u32>,
    levels: usize,
    /// Number of domains of each level.
    sizes: Vec<usize>,
    /// Groups that must be near this one, with the level.
    needed_by: Vec<Vec<(u32, usize)>>,
    /// Displaced members of each group, when that costs.
    moved: Vec<u32>,
    /// Number of groups by displaced members.
    histogram: Vec<u32>,
    most_moved: usize,
    /// The most that one guest's move can gain by its groups.
    most_gain: f64,
}

impl Census {
    pub(super) const fn most_gain(&self) -> f64 {
        self.most_gain
    }

    pub(super) fn of(instance: &Instance, at: &[u32]) -> Self {
        let levels = instance.domains.len();
        let sizes: Vec<usize> = instance
            .domains
            .iter()
            .map(|of| of.iter().max().map_or(0, |most| *most as usize + 1))
            .collect();
        let mut rows = vec![NONE; instance.groups.len() * levels];
        let mut needed_by = vec![Vec::new(); instance.groups.len()];
        let mut total = 0;
        let mut want = |rows: &mut Vec<u32>, group: usize, level: usize| {
            let row = &mut rows[group * levels + level];
            if *row == NONE {
                *row = index(total);
                total += sizes[level];
            }
        };
        for (number, group) in instance.groups.iter().enumerate() {
            for law in &group.laws {
                want(&mut rows, number, law.level);
                if let LawKind::Near { other } = law.kind {
                    want(&mut rows, other as usize, law.level);
                    // A group may say the same twice, with different weights.
                    let need = (index(number), law.level);
                    if !needed_by[other as usize].contains(&need) {
                        needed_by[other as usize].push(need);
                    }
                }
            }
        }
        let mut census = Self {
            counts: vec![0; total],
            distinct: vec![0; rows.len()],
            rows,
            levels,
            sizes,
            needed_by,
            moved: vec![0; instance.groups.len()],
            histogram: vec![0],
            most_moved: 0,
            most_gain: 0.0,
        };
        for (guest, host) in at.iter().enumerate() {
            for group in &instance.member_of[guest] {
                census.add(instance, *group as usize, *host as usize, 1);
                if *host != instance.home[guest] {
                    census.moved[*group as usize] += 1;
                }
            }
        }
        census.most_moved = census.moved.iter().max().map_or(0, |most| *most as usize);
        census.histogram = vec![0; census.most_moved + 1];
        for moved in &census.moved {
            census.histogram[*moved as usize] += 1;
        }
        census.most_gain = census.bound_gain(instance);
        census
    }

    /// Laws that are kept cannot gain; hard ones stay kept.
    fn bound_gain(&self, instance: &Instance) -> f64 {
        let laws_of = |group: usize| {
            let laws = instance.groups[group].laws.iter();
            laws.filter(move |law| {
                !law.is_hard() || self.violation(group, law.kind, law.level) > 0.0
            })
            .map(Law::unit_cost)
            .sum::<f64>()
        };
        let gains: Vec<f64> = (0..instance.groups.len()).map(laws_of).collect();
        let near = |group: usize| {
            self.needed_by[group].iter().map(|(x, _)| gains[*x as usize]).sum::<f64>()
        };
        let of_guest = |groups: &Vec<u32>| {
            groups.iter().map(|g| gains[*g as usize] + near(*g as usize)).sum::<f64>()
        };
        instance.member_of.iter().map(of_guest).fold(0.0, f64::max) + instance.objective.group_moves
    }

    fn add(&mut self, instance: &Instance, group: usize, host: usize, by: i8) {
        for level in 0..self.levels {
            let row = self.rows[group * self.levels + level];
            if row != NONE {
                let place = row as usize + instance.domains[level][host] as usize;
                let before = self.counts[place];
                let after = before.saturating_add_signed(i16::from(by));
                self.counts[place] = after;
                let distinct = &mut self.distinct[group * self.levels + level];
                *distinct += u32::from(before == 0 && after > 0);
                *distinct -= u32::from(before > 0 && after == 0);
            }
        }
    }

    fn count(&self, group: usize, level: usize, domain: u32) -> u16 {
        self.counts[self.rows[group * self.levels + level] as usize + domain as usize]
    }

    /// Takes note of a guest's change of place.
    pub(super) fn relocate(&mut self, instance: &Instance, guest: usize, from: usize, to: usize) {
        let home = instance.home[guest] as usize;
        for group in &instance.member_of[guest] {
            let group = *group as usize;
            self.add(instance, group, from, -1);
            self.add(instance, group, to, 1);
            match (from == home, to == home) {
                (true, false) => self.note_moved(group, 1),
                (false, true) => self.note_moved(group, -1),
                _ => {}
            }
        }
    }

    fn note_moved(&mut self, group: usize, by: i32) {
        let before = self.moved[group] as usize;
        self.moved[group] = self.moved[group].saturating_add_signed(by);
        let after = self.moved[group] as usize;
        if self.histogram.len() <= after {
            self.histogram.push(0);
        }
        self.histogram[before] -= 1;
        self.histogram[after] += 1;
        self.most_moved = match by {
            1 => self.most_moved.max(after),
            _ if before == self.most_moved && self.histogram[before] == 0 => after,
            _ => self.most_moved,
        };
    }

    /// What all laws and group moves cost now.
    pub(super) fn cost(&self, instance: &Instance) -> f64 {
        let laws: f64 = (0..instance.groups.len())
            .map(|group| {
                let laws = &instance.groups[group].laws;
                laws.iter()
                    .map(|law| law.unit_cost() * self.violation(group, law.kind, law.level))
                    .sum::<f64>()
            })
            .sum();
        laws + instance.objective.group_moves * count(self.most_moved)
    }

    /// Units by which a law is broken now.
    pub(super) fn violation(&self, group: usize, kind: LawKind, level: usize) -> f64 {
        let row = self.rows[group * self.levels + level] as usize;
        let domains = self.sizes[level];
        let counts = &self.counts[row..row + domains];
        let members = counts.iter().map(|c| f64::from(*c)).sum::<f64>();
        match kind {
            LawKind::Apart { most } => {
                counts.iter().map(|c| f64::from(c.saturating_sub(most))).sum()
            }
            LawKind::Spread { least } => {
                let distinct = counts.iter().filter(|c| **c > 0).count();
                (f64::from(least) - count(distinct)).max(0.0)
            }
            LawKind::Together => members - counts.iter().max().map_or(0.0, |c| f64::from(*c)),
            LawKind::Near { other } => {
                let other = self.rows[other as usize * self.levels + level] as usize;
                let others = &self.counts[other..other + domains];
                count(counts.iter().zip(others).filter(|(c, o)| **c > 0 && **o == 0).count())
            }
        }
    }

    /// Change of cost when a guest moves; none when a hard law forbids it.
    pub(super) fn shift(
        &self,
        instance: &Instance,
        at: &[u32],
        guest: usize,
        from: usize,
        to: usize,
    ) -> Option<f64> {
        self.shift_beside(instance, at, guest, from, to, &[])
    }

    /// [`Self::shift`], but laws of the groups `but` see no change: another member goes the
    /// other way.
    pub(super) fn shift_beside(
        &self,
        instance: &Instance,
        at: &[u32],
        guest: usize,
        from: usize,
        to: usize,
        but: &[u32],
    ) -> Option<f64> {
        let mut delta = 0.0;
        for group in &instance.member_of[guest] {
            if !but.contains(group) {
                delta += self.shift_of_group(instance, at, *group as usize, from, to)?;
            }
            delta += self.moved_delta(instance, guest, *group as usize, from, to);
        }
        Some(delta)
    }

    fn shift_of_group(
        &self,
        instance: &Instance,
        at: &[u32],
        group: usize,
        from: usize,
        to: usize,
    ) -> Option<f64> {
        let mut delta = 0.0;
        for law in &instance.groups[group].laws {
            let domains = &instance.domains[law.level];
            let (out, into) = (domains[from], domains[to]);
            if out == into {
                continue;
            }
            let (leaving, entered) =
                (self.count(group, law.level, out), self.count(group, law.level, into));
            let change = match law.kind {
                LawKind::Apart { most } => f64::from(entered >= most) - f64::from(leaving > most),
                LawKind::Spread { least } => {
                    let distinct = f64::from(self.distinct[group * self.levels + law.level]);
                    let after = distinct + f64::from(entered == 0) - f64::from(leaving == 1);
                    let missing = |distinct: f64| (f64::from(least) - distinct).max(0.0);
                    missing(after) - missing(distinct)
                }
                LawKind::Together => {
                    self.together_change(instance, at, group, law.level, out, into)
                }
                LawKind::Near { other } => {
                    let lonely = |domain| self.count(other as usize, law.level, domain) == 0;
                    f64::from(entered == 0 && lonely(into)) - f64::from(leaving == 1 && lonely(out))
                }
            };
            if change > 0.0 && law.is_hard() {
                return None;
            }
            delta += law.unit_cost() * change;
        }
        for (needing, level) in &self.needed_by[group] {
            let domains = &instance.domains[*level];
            let (out, into) = (domains[from], domains[to]);
            if out == into {
                continue;
            }
            let needs = |domain| self.count(*needing as usize, *level, domain) > 0;
            let change = f64::from(self.count(group, *level, out) == 1 && needs(out))
                - f64::from(self.count(group, *level, into) == 0 && needs(into));
            for law in &instance.groups[*needing as usize].laws {
                if law.level == *level && law.kind == (LawKind::Near { other: index(group) }) {
                    if change > 0.0 && law.is_hard() {
                        return None;
                    }
                    delta += law.unit_cost() * change;
                }
            }
        }
        Some(delta)
    }

    fn together_change(
        &self,
        instance: &Instance,
        at: &[u32],
        group: usize,
        level: usize,
        out: u32,
        into: u32,
    ) -> f64 {
        let domains = &instance.domains[level];
        let fullest = |moved: bool| {
            let members = instance.groups[group].members.iter();
            members
                .map(|member| {
                    let domain = domains[at[*member as usize] as usize];
                    let count = i32::from(self.count(group, level, domain));
                    match moved {
                        true if domain == out => count - 1,
                        true if domain == into => count + 1,
                        _ => count,
                    }
                })
                .max()
                .unwrap_or(0)
                .max(if moved { i32::from(self.count(group, level, into)) + 1 } else { 0 })
        };
        f64::from(fullest(false) - fullest(true))
    }

    fn moved_delta(
        &self,
        instance: &Instance,
        guest: usize,
        group: usize,
        from: usize,
        to: usize,
    ) -> f64 {
        let weight = instance.objective.group_moves;
        if weight == 0.0 {
            return 0.0;
        }
        let home = instance.home[guest] as usize;
        let moved = self.moved[group] as usize;
        match (from == home, to == home) {
            (true, false) if moved == self.most_moved => weight,
            (false, true) if moved == self.most_moved && self.histogram[moved] == 1 => -weight,
            _ => 0.0,
        }
    }
}
