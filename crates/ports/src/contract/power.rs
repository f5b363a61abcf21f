//! Contract of the power port: one machine behind a BMC.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_model::{BmcAddress, PowerState};

use crate::contract::report::{promise, promise_eq, run_all};
use crate::contract::{Kept, Unkept};
use crate::{Bmc, POWER_TIMEOUT_S, Power, PowerError, Secret};

/// A machine follows its switch within so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);
/// What a call may take beyond its limit: starting and ending a process on a busy machine.
const GRACE: Duration = Duration::from_secs(2);
/// No machine draws more, watts: a full rack draws less.
const MOST_WATTS: f64 = 100_000.0;
/// A password that stands in no text by chance.
const WRONG: &str = "Zq7-not-the-one";

/// A machine that is on, its BMC, and one who knows the truth.
#[derive(Clone)]
pub struct PowerRig {
    /// What is tried.
    pub power: Arc<dyn Power>,
    /// The machine's BMC, with the right password.
    pub bmc: Bmc,
    /// The same kind of BMC, where nobody answers.
    pub nobody: BmcAddress,
    /// The same BMC, where a certificate is trusted that it does not have; none where the
    /// protocol has none.
    pub untrusted: Option<BmcAddress>,
    /// Whether this BMC measures.
    pub measures: bool,
    /// Whether the machine is on, by another word than its BMC's.
    pub is_on: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for PowerRig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PowerRig").field("bmc", &self.bmc).finish_non_exhaustive()
    }
}

/// Checks every promise of [`Power`]; `make` gives a rig whose machine is on each time.
///
/// # Panics
///
/// With the names of the promises that were not kept. That is what it is for.
pub async fn run(make: impl AsyncFn() -> PowerRig) {
    run_all!("power", make;
        the_state_follows_the_switch,
        switching_twice_is_harmless,
        a_wrong_password_is_denied_and_changes_nothing,
        an_unknown_user_is_denied,
        a_certificate_that_is_not_trusted_is_named_and_changes_nothing,
        a_bmc_that_is_not_there_is_to_be_asked_again,
        a_reading_is_in_watts_or_refused,
        no_text_shows_the_password,
    );
}

impl From<PowerError> for Unkept {
    fn from(error: PowerError) -> Self {
        Self(format!("failed unexpectedly: {error}"))
    }
}

impl PowerRig {
    /// Waits until the BMC says so, and asks whether that is the truth.
    async fn becomes(&self, wanted: PowerState) -> Kept {
        let begun = Instant::now();
        loop {
            let said = self.power.state(&self.bmc).await;
            if said == Ok(wanted) {
                break;
            }
            promise!(begun.elapsed() < PATIENCE, "not {wanted:?} in time, but {said:?}");
            tokio::time::sleep(LOOK).await;
        }
        promise_eq!((self.is_on)(), wanted == PowerState::On, "whether the machine is on");
        Ok(())
    }

    fn with_password(&self, password: &str) -> Bmc {
        Bmc { password: Secret::new(password), ..self.bmc.clone() }
    }

    /// Every call, with this BMC.
    async fn all_calls(&self, bmc: &Bmc) -> [Result<(), PowerError>; 4] {
        let (state, on, off, reading) = tokio::join!(
            self.power.state(bmc),
            self.power.switch_on(bmc),
            self.power.switch_off(bmc),
            self.power.reading(bmc)
        );
        [state.map(drop), on, off, reading.map(drop)]
    }
}

async fn the_state_follows_the_switch(rig: PowerRig) -> Kept {
    rig.becomes(PowerState::On).await?;
    rig.power.switch_off(&rig.bmc).await?;
    rig.becomes(PowerState::Off).await?;
    rig.power.switch_on(&rig.bmc).await?;
    rig.becomes(PowerState::On).await
}

async fn switching_twice_is_harmless(rig: PowerRig) -> Kept {
    rig.power.switch_on(&rig.bmc).await?;
    rig.becomes(PowerState::On).await?;
    for _ in 0..2 {
        rig.power.switch_off(&rig.bmc).await?;
    }
    rig.becomes(PowerState::Off).await?;
    rig.power.switch_off(&rig.bmc).await?;
    rig.becomes(PowerState::Off).await?;
    for _ in 0..2 {
        rig.power.switch_on(&rig.bmc).await?;
    }
    rig.becomes(PowerState::On).await
}

async fn a_wrong_password_is_denied_and_changes_nothing(rig: PowerRig) -> Kept {
    for result in rig.all_calls(&rig.with_password(WRONG)).await {
        promise!(matches!(result, Err(PowerError::Denied(_))), "{result:?} instead of Denied");
    }
    rig.becomes(PowerState::On).await
}

async fn an_unknown_user_is_denied(rig: PowerRig) -> Kept {
    let address = BmcAddress { user: "nobody".to_owned(), ..rig.bmc.address.clone() };
    for result in rig.all_calls(&Bmc { address, ..rig.bmc.clone() }).await {
        promise!(matches!(result, Err(PowerError::Denied(_))), "{result:?} instead of Denied");
    }
    rig.becomes(PowerState::On).await
}

async fn a_certificate_that_is_not_trusted_is_named_and_changes_nothing(rig: PowerRig) -> Kept {
    let Some(address) = rig.untrusted.clone() else { return Ok(()) };
    for result in rig.all_calls(&Bmc { address, ..rig.bmc.clone() }).await {
        let named = matches!(result, Err(PowerError::Untrusted(_)));
        promise!(named, "{result:?} instead of Untrusted");
    }
    rig.becomes(PowerState::On).await
}

async fn a_bmc_that_is_not_there_is_to_be_asked_again(rig: PowerRig) -> Kept {
    let begun = Instant::now();
    let nobody = Bmc { address: rig.nobody.clone(), password: rig.bmc.password.clone() };
    for result in rig.all_calls(&nobody).await {
        promise!(matches!(result, Err(PowerError::Retry(_))), "{result:?} instead of Retry");
    }
    let limit = Duration::from_secs(POWER_TIMEOUT_S) + GRACE;
    promise!(begun.elapsed() < limit, "it took {:?}", begun.elapsed());
    Ok(())
}

async fn a_reading_is_in_watts_or_refused(rig: PowerRig) -> Kept {
    rig.becomes(PowerState::On).await?;
    let reading = rig.power.reading(&rig.bmc).await;
    if !rig.measures {
        promise!(matches!(reading, Err(PowerError::Refused(_))), "{reading:?}, not Refused");
        return Ok(());
    }
    let watts = reading?.watts;
    promise!(watts > 0.0 && watts < MOST_WATTS, "a machine that is on draws {watts} W");
    Ok(())
}

async fn no_text_shows_the_password(rig: PowerRig) -> Kept {
    let wrong = rig.with_password(WRONG);
    let nobody = Bmc { address: rig.nobody.clone(), password: Secret::new(WRONG) };
    let (denied, silent) = tokio::join!(rig.power.state(&wrong), rig.power.state(&nobody));
    let mut texts = vec![format!("{wrong:?}")];
    for error in [denied, silent].into_iter().filter_map(Result::err) {
        texts.extend([error.to_string(), format!("{error:?}"), error.hint().to_owned()]);
    }
    promise!(texts.len() == 7, "one of two calls did not fail: {texts:?}");
    for text in texts {
        promise!(!text.contains(WRONG), "the password is shown: {text}");
    }
    Ok(())
}
