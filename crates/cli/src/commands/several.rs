//! `drover guest migrate` for several guests.

use std::collections::BTreeMap;
use std::time::Instant;

use drover_api::v1::{MigrateSeveralRequest, MigrateSeveralResponse, Operation, Plan};
use drover_api::{Problem, ProblemKind};

use super::guest::Migrate;
use super::wait::{INTERRUPTED, LINE_EVERY, POLL, line, patiently};
use super::{Context, Done, problem};
use crate::{output, show};

/// Moves several guests, or all of a host, by one plan.
pub(super) async fn migrate(context: &Context, migrate: Migrate) -> Done {
    if migrate.host_is_dead {
        let detail = "a rescue is for one guest at a time";
        return Err(Problem::new(ProblemKind::BadRequest, detail)
            .hint("`drover guest migrate GUEST --mode rescue --host-is-dead`"));
    }
    let request = MigrateSeveralRequest {
        guests: migrate.guests,
        from: migrate.from,
        to: migrate.to,
        skip_refused: migrate.skip_refused,
        options: migrate.options.options(),
        dry_run: migrate.dry_run,
    };
    let answer = context.client.migrate_several(&request).await.map_err(problem)?;
    let warnings = show::check::all_warnings(&answer.warnings);
    if migrate.dry_run {
        output::print(context.format, &answer, |_| {
            show::plan(&answer.plan) + &show::drain::blocked(&answer.refused) + &warnings
        })?;
        return refused(&answer);
    }
    if migrate.no_wait {
        return output::print(context.format, &answer, |_| show::operations(&answer.operations));
    }
    let notices = show::drain::blocked(&answer.refused) + &warnings;
    if context.format.is_for_people() && !notices.is_empty() {
        output::out(notices.trim());
    }
    let (plan, operations) = tokio::select! {
        ended = finish(context, &answer.plan.id) => ended?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("the moves go on; `drover operation list` shows them");
            std::process::exit(INTERRUPTED);
        }
    };
    output::print(context.format, &operations, |_| show::operations(&operations))?;
    verdict(&plan, &operations)
}

/// A dry run tells by its exit code, too, that not all can move.
fn refused(answer: &MigrateSeveralResponse) -> Done {
    if answer.refused.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = answer.refused.iter().map(|one| one.guest.as_str()).collect();
    Err(Problem::new(ProblemKind::Refused, format!("{} cannot move", named.join(", ")))
        .hint("--skip-refused moves the others"))
}

/// Waits for every operation of the plan, those of its later batches included.
async fn finish(context: &Context, plan: &str) -> Result<(Plan, Vec<Operation>), Problem> {
    let mut told: BTreeMap<String, (String, Instant)> = BTreeMap::new();
    let mut known: BTreeMap<String, Operation> = BTreeMap::new();
    loop {
        let now = patiently(async || context.client.plan(plan).await).await?;
        let ids = now.batches.iter().flatten().filter_map(|step| step.operation.clone());
        for id in ids {
            if known.get(&id).is_some_and(|one| one.finished) {
                continue;
            }
            let one = patiently(async || context.client.operation(&id).await).await?;
            if context.format.is_for_people() {
                tell(&mut told, &one);
            }
            known.insert(id, one);
        }
        let over = known.values().all(|one| one.finished);
        if over && now.state != "running" {
            return Ok((now, known.into_values().collect()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// A line when the state changes, and now and then while it does not. Nothing while it only
/// waits for its turn: that is one line for each guest.
fn tell(told: &mut BTreeMap<String, (String, Instant)>, one: &Operation) {
    let last = told.get(&one.id);
    let changed = last.is_none_or(|(state, _)| *state != one.state);
    let silent = last.is_some_and(|(_, at)| at.elapsed() >= LINE_EVERY) && one.queue.is_none();
    if changed || (silent && !one.finished) {
        output::out(&format!("{} {}", one.guest, line(one)));
        told.insert(one.id.clone(), (one.state.clone(), Instant::now()));
    }
}

fn verdict(plan: &Plan, operations: &[Operation]) -> Done {
    let stayed: Vec<String> = operations
        .iter()
        .filter(|one| one.state != "completed")
        .map(|one| {
            let why = one.failure.clone().unwrap_or_else(|| one.state.clone());
            format!("{} ({why})", one.guest)
        })
        .collect();
    let planned: usize = plan.batches.iter().map(Vec::len).sum();
    let never_begun = planned.saturating_sub(operations.len());
    if stayed.is_empty() && never_begun == 0 {
        return Ok(());
    }
    let mut detail = format!("{} of {planned} guest(s) were not moved", stayed.len() + never_begun);
    if !stayed.is_empty() {
        detail.push_str(&format!(": {}", stayed.join(", ")));
    }
    Err(Problem::new(ProblemKind::Failed, detail)
        .hint(format!("`drover plan show {}` has the whole plan", plan.id)))
}
