//! KVM is part of the kernel: another kernel gives a guest other CPU features and clocks.

use super::{Facts, Trouble};

pub(super) fn check(facts: &Facts<'_>) -> Vec<Trouble> {
    let (from, to) = (&facts.source.capabilities.kernel, &facts.target.capabilities.kernel);
    let differ = from != to && !from.is_empty() && !to.is_empty();
    if !differ || !facts.is_live() || facts.settings.skip_kernel_check {
        return Vec::new();
    }
    vec![Trouble::warns(
        format!("{} runs kernel {from}, {} runs kernel {to}", facts.source.name, facts.target.name),
        "fine while hosts are updated one by one; --skip-kernel-check silences this",
    )]
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::fixture::Case;

    #[test]
    fn another_kernel_is_told_unless_that_is_not_wanted() {
        let mut case = Case::new();
        case.target.capabilities.kernel = "6.12.0".to_owned();
        let (severity, cause) = case.says("kernel").unwrap();
        assert_eq!(
            (severity, cause.as_str()),
            (Severity::Warns, "h1 runs kernel 6.1.0, h2 runs kernel 6.12.0")
        );
        case.settings.skip_kernel_check = true;
        assert_eq!(case.says("kernel"), None);
    }
}
