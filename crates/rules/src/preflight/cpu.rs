//! The target must be able to give the guest the CPU that it runs with, by libvirt's word.

use drover_model::CpuFit;

use super::{Facts, Trouble};

/// A clock that counts at one processor's own speed: QEMU does not let a guest that has it go.
const BOUND_FEATURE: &str = "invtsc";

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    bound(facts).into_iter().chain(fit(facts)).collect()
}

fn bound(facts: &Facts<'_>) -> Option<Trouble> {
    let found = facts.inspection.this().filter(|_| facts.is_live())?;
    found.cpu_features.iter().any(|feature| feature == BOUND_FEATURE).then(|| {
        Trouble::blocks(
            format!("its CPU has {BOUND_FEATURE}, with which QEMU does not migrate"),
            format!("take {BOUND_FEATURE} out of its CPU and start it anew, or move it cold"),
        )
        .everywhere()
    })
}

fn fit(facts: &Facts<'_>) -> Option<Trouble> {
    if facts.settings.skip_cpu_check {
        return None;
    }
    let target = &facts.target.name;
    match &facts.incoming.this()?.cpu {
        CpuFit::Fits => None,
        CpuFit::Lacks { features, said } => {
            let cause = if features.is_empty() {
                format!("{target} cannot give it its CPU: {said}")
            } else {
                format!("{target} cannot give its CPU these features: {}", features.join(", "))
            };
            Some(Trouble::blocks(
                cause,
                "move it to a host that has them, or start it anew with the group's baseline \
                 (`drover baseline apply`); --skip-cpu-check leaves the refusal to libvirt",
            ))
        }
        CpuFit::Unknown { why } => Some(Trouble::warns(
            format!("libvirt on {target} cannot compare CPUs: {why}"),
            "libvirt will check the CPU again when the guest arrives, and refuse it there",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;
    use super::*;

    #[test]
    fn missing_features_are_named() {
        let mut case = Case::new();
        let lacks = |features: &[&str]| CpuFit::Lacks {
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            said: "vendors do not match".to_owned(),
        };
        for (cpu, severity, part) in [
            (lacks(&["hle", "rtm"]), Severity::Blocks, "hle, rtm"),
            (lacks(&[]), Severity::Blocks, "vendors do not match"),
            (CpuFit::Unknown { why: "arm".to_owned() }, Severity::Warns, "arm"),
        ] {
            case.incoming.cpu = cpu;
            let told = case.says("cpu").unwrap();
            assert!(told.0 == severity && told.1.contains(part), "{told:?}");
        }
        case.settings.skip_cpu_check = true;
        assert_eq!(case.says("cpu"), None);
    }

    #[test]
    fn what_qemu_does_not_let_go_cannot_be_skipped() {
        let mut case = Case::new();
        case.inspection.cpu_features.push("invtsc".to_owned());
        case.settings.skip_cpu_check = true;
        assert_eq!(case.says("cpu").unwrap().0, Severity::Blocks);
        case.settings.mode = drover_model::MigrationMode::Cold;
        assert_eq!(case.says("cpu"), None);
    }
}
