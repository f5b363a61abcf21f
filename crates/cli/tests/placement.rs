//! Placement rules, labels, the balance policy and plans on request, as a user sees them.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "every test program uses another part of it")]
mod support;

use serde_json::Value;
use support::{Printed, Stage};

/// An error has a kind and a hint on standard error, and nothing on standard output.
fn refused(printed: &Printed, code: i32, kind: &str, word: &str) {
    let shown = format!("{}{}", printed.out, printed.err);
    assert_eq!(printed.code, code, "{shown}");
    assert!(printed.out.is_empty(), "{shown}");
    assert!(printed.err.contains(&format!("kind: {kind}")), "{shown}");
    assert!(printed.err.contains("hint: "), "{shown}");
    assert!(printed.err.contains(word), "{word}? {shown}");
}

fn done(printed: &Printed) -> &str {
    assert_eq!(printed.code, 0, "{}{}", printed.out, printed.err);
    &printed.out
}

fn moves(plan: &Value) -> Vec<&Value> {
    let batches = plan["batches"].as_array().into_iter().flatten();
    batches.flat_map(|batch| batch.as_array().unwrap()).collect()
}

fn holds(stage: &Stage, rule: &str) -> bool {
    let rules = stage.json(&["placement", "list"]);
    let found = rules.as_array().unwrap().iter().find(|one| one["name"] == rule);
    found.unwrap()["holds"] == Value::Bool(true)
}

#[test]
fn wishes_are_stated_previewed_applied_and_kept() {
    let stage = Stage::up();
    hosts_are_labelled(&stage);
    what_means_nothing_is_refused(&stage);
    what_if_and_why_not_are_answered(&stage);
    a_previewed_plan_is_applied_once(&stage);
    a_policy_is_set_shown_and_kept(&stage);
    what_is_gone_drops_out(&stage);
}

fn hosts_are_labelled(stage: &Stage) {
    done(&stage.drover(&["host", "label", "h1", "rack=r1", "room=a"]));
    done(&stage.drover(&["host", "label", "h2", "rack=r2"]));
    let printed = stage.drover(&["host", "label", "h1", "room-"]);
    assert_eq!(done(&printed).trim(), "h1: rack=r1");
    assert_eq!(stage.json(&["host", "show", "h1"])["labels"]["rack"], "r1");
    assert!(done(&stage.drover(&["host", "show", "h2"])).contains("rack=r2"));
    refused(&stage.drover(&["host", "label", "h9", "rack=r1"]), 4, "not found", "h9");
    refused(&stage.drover(&["host", "label", "h1", "rack="]), 2, "bad request", "rack=");
    refused(&stage.drover(&["host", "label", "h1", "host=x"]), 2, "bad request", "single hosts");
    assert_eq!(stage.drover(&["host", "label", "h1", "rack"]).code, 2, "neither = nor -");
}

fn what_means_nothing_is_refused(stage: &Stage) {
    let create = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        stage.drover(&[&["placement", "create"], words.as_slice()].concat())
    };
    refused(&create("a apart --guest vm1 --guest vm9"), 4, "not found", "vm9");
    refused(&create("a on --guest vm1 --host h9"), 4, "not found", "h9");
    refused(&create("a apart --guest vm1 --guest vm1"), 2, "bad request", "two different");
    refused(&create("a on --guest vm1"), 2, "bad request", "one host");
    refused(&create("a apart --guest vm1 --guest vm2 --host h1"), 2, "bad request", "hosts");
    refused(&create("a apart --guest vm1 --guest vm2 --scope row"), 2, "bad request", "row");
    refused(&create("a apart --guest vm1 --guest vm2 --most 2"), 2, "bad request", "most");
    refused(&create("a spread --guest vm1 --guest vm2 --least 3"), 2, "bad request", "least");
    refused(&create("a/b on --guest vm1 --host h1"), 2, "bad request", "a/b");
    refused(&create("a on --guest vm1 --host h1 --prefer 0"), 2, "bad request", "weight");
    assert_eq!(create("a sideways --guest vm1").code, 2);
    done(&create("pin on --guest vm1 --host h1"));
    refused(&create("pin not-on --guest vm2 --host h1"), 5, "conflict", "pin");
    refused(&create("off not-on --guest vm1 --host h1"), 6, "refused", "`pin` and `off`");
    done(&create("off not-on --guest vm1 --host h1 --prefer 0.5"));
    assert!(!holds(stage, "off") && holds(stage, "pin"));
    let printed = stage.drover(&["guest", "migrate", "vm1", "--to", "h2"]);
    refused(&printed, 6, "refused", "`pin` keeps it off h2");
    for rule in ["pin", "off"] {
        done(&stage.drover(&["placement", "delete", rule]));
    }
    refused(&stage.drover(&["placement", "delete", "pin"]), 4, "not found", "pin");
}

fn what_if_and_why_not_are_answered(stage: &Stage) {
    let preview = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        stage.json(&[&["plan", "preview"], words.as_slice()].concat())
    };
    let one = preview("--guest vm1 --to h2");
    assert_eq!((moves(&one).len(), &one["state"]), (1, &"proposed".into()), "{one}");
    let hot = preview("--guest vm1 --threshold 1");
    let refusals = hot["report"]["refused"].as_array().unwrap();
    assert!(refusals.iter().any(|one| one["constraint"] == "threshold"), "{hot}");
    assert_eq!(hot["state"], "nothing-to-do", "{hot}");
    stage.until("loads are steady", |_| moves(&preview("--drain h1")).len() == 2);
    let drained = preview("--drain h1");
    assert!(moves(&drained).iter().all(|one| one["to"] == "h2"), "{drained}");
    assert_eq!(moves(&drained).len(), 2, "{drained}");
    let without = preview("--balance 5 --without h1");
    assert_eq!(moves(&without).len(), 2, "{without}");
    assert!(without["report"]["summary"].as_str().unwrap().starts_with("without h1: "));
    for goal in ["--consolidate", "--repair", "--balance 3 --effort 0", "--resize vm1=2,256MiB", ""]
    {
        assert!(preview(goal)["report"]["summary"].is_string(), "{goal}");
    }
    let id = drained["id"].as_str().unwrap();
    let explained = stage.drover(&["plan", "explain", id]);
    assert!(done(&explained).contains("vm1 goes from h1 to h2"), "{}", explained.out);
    let there = stage.json(&["plan", "explain", id, "--why-not", "vm1=h2"]);
    assert!(there["summary"].as_str().unwrap().contains("is on h2 with this plan"), "{there}");
    let none = preview("--repair");
    let id = none["id"].as_str().unwrap();
    let free = stage.json(&["plan", "explain", id, "--why-not", "vm1=h2"]);
    assert_eq!(free["allowed"], true, "{free}");
    assert!(free["asked"]["cpu_usage_percent"].is_number() && free["chosen"]["host"] == "h1");
    done(&stage.drover(&["placement", "create", "stay", "on", "--guest", "vm1", "--host", "h1"]));
    let pinned = stage.drover(&["plan", "explain", id, "--why-not", "vm1=h2"]);
    assert!(done(&pinned).contains("`stay` keeps it off h2"), "{}", pinned.out);
    done(&stage.drover(&["placement", "delete", "stay"]));
    refused(&stage.drover(&["plan", "preview", "--drain", "h9"]), 4, "not found", "h9");
    refused(&stage.drover(&["plan", "preview", "--threshold", "0"]), 2, "bad request", "percent");
    let few = ["plan", "preview", "--drain", "h1", "--max-moves", "1"];
    refused(&stage.drover(&few), 2, "bad request", "planned whole");
    refused(&stage.drover(&["plan", "preview", "--effort", "99"]), 2, "bad request", "effort");
    refused(&stage.drover(&["plan", "explain", "nothing"]), 4, "not found", "nothing");
    refused(&stage.drover(&["plan", "apply", id]), 6, "refused", "moves nothing");
    assert_eq!(stage.drover(&["plan", "preview", "--repair", "--consolidate"]).code, 2);
}

fn a_previewed_plan_is_applied_once(stage: &Stage) {
    let words = ["placement", "create", "two", "apart", "--guest", "vm1", "--guest", "vm2"];
    done(&stage.drover(&[&words[..], &["--scope", "rack"]].concat()));
    assert!(!holds(stage, "two"), "both are on h1");
    let printed = stage.drover(&["host", "label", "h1", "rack-"]);
    assert_eq!(printed.code, 0, "h2 still has a rack: {}", printed.err);
    refused(&stage.drover(&["host", "label", "h2", "rack-"]), 5, "conflict", "`two`");
    done(&stage.drover(&["host", "label", "h1", "rack=r1"]));
    let plan = stage.json(&["plan", "preview", "--repair"]);
    let other = stage.json(&["plan", "preview", "--repair"]);
    assert_eq!(moves(&plan).len(), 1, "{plan}");
    assert_eq!(plan["report"]["broken_before"].as_array().map(Vec::len), Some(1), "{plan}");
    assert_eq!(plan["report"]["broken_after"].as_array().map(Vec::len), Some(0), "{plan}");
    let printed = stage.drover(&["plan", "preview", "--repair"]);
    assert!(done(&printed).contains("apply it with: drover plan apply "), "{}", printed.out);
    assert!(printed.out.contains("restored: `two`"), "{}", printed.out);
    let made = stage.json(&["token", "create", "eyes", "--role", "viewer"]);
    let config = stage.admin();
    let token = made["secret"].as_str().unwrap();
    let viewer = [("DROVER_CONFIG", config.to_str().unwrap()), ("DROVER_TOKEN", token)];
    assert_eq!(stage.run(&["plan", "preview", "--repair"], &viewer).code, 0);
    let id = plan["id"].as_str().unwrap();
    refused(&stage.run(&["plan", "apply", id], &viewer), 3, "forbidden", "operator");
    done(&stage.drover(&["plan", "apply", id]));
    stage.until("the plan is done", |stage| stage.json(&["plan", "show", id])["state"] == "done");
    assert!(holds(stage, "two"));
    assert_ne!(stage.homes("vm1"), stage.homes("vm2"));
    refused(&stage.drover(&["plan", "apply", id]), 5, "conflict", "done already");
    let stale = other["id"].as_str().unwrap();
    refused(&stage.drover(&["plan", "apply", stale]), 5, "conflict", "has changed");
    let (one, two) = (stage.homes("vm1"), stage.homes("vm2"));
    let together = stage.drover(&["guest", "migrate", "vm1", "--to", &two[0]]);
    refused(&together, 6, "refused", "`two`");
    assert_eq!(stage.homes("vm1"), one);
}

fn a_policy_is_set_shown_and_kept(stage: &Stage) {
    refused(&stage.drover(&["policy", "unset", "balance"]), 4, "not found", "policy");
    assert_eq!(stage.json(&["policy", "show"])["balance"], Value::Null);
    let set = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        stage.drover(&[&["policy", "set", "balance"], words.as_slice()].concat())
    };
    assert_eq!(set("--level 6 --interval 5m").code, 2);
    refused(&set("--level 3 --interval 1s"), 2, "bad request", "interval");
    refused(&set("--level 3 --interval 5m --max-moves 0"), 2, "bad request", "max_moves");
    refused(&set("--level 3 --interval 5m --horizon 1s"), 2, "bad request", "horizon");
    done(&stage.drover(&["placement", "delete", "two"]));
    let pair = ["placement", "create", "pair", "together", "--guest", "vm1", "--guest", "vm2"];
    done(&stage.drover(&pair));
    assert!(!holds(stage, "pair"));
    done(&set("--level 1 --interval 10s --hold 1h"));
    let waits = |stage: &Stage, word: &str| {
        let events = stage.json(&["event", "list"]);
        let mut events = events.as_array().unwrap().iter();
        events.any(|e| {
            e["kind"] == "balance.waiting" && e["message"].as_str().unwrap().contains(word)
        })
    };
    stage.until("it waits for the hold", |stage| waits(stage, "less than 1h ago"));
    done(&set("--level 1 --interval 10s --hold 0s --moves-per-hour 1"));
    stage.until("it waits for the budget", |stage| waits(stage, "of this hour are made"));
    done(&set("--level 1 --interval 10s --hold 0s --moves-per-guest-per-hour 60"));
    let shown = stage.json(&["policy", "show"])["balance"].clone();
    assert_eq!((&shown["level"], &shown["moves_last_hour"]), (&1.into(), &1.into()), "{shown}");
    assert!(done(&stage.drover(&["policy", "show"])).contains("1 (conservative)"));
    stage.until("the pair is together", |stage| stage.homes("vm1") == stage.homes("vm2"));
    stage.until("the rule holds", |stage| holds(stage, "pair"));
    let plans = stage.json(&["plan", "history"]);
    assert_eq!(plans[0]["cause"], "policy balance", "{plans}");
    let events = stage.json(&["event", "list"]);
    let told = |kind: &str| events.as_array().unwrap().iter().any(|e| e["kind"] == kind);
    assert!(told("balance.planned") && told("audit.policy"), "{events}");
    stage.until("the plan is done", |stage| stage.json(&["plan", "history"])[0]["state"] == "done");
    done(&stage.drover(&["policy", "unset", "balance"]));
}

fn what_is_gone_drops_out(stage: &Stage) {
    let home = stage.homes("vm1")[0].clone();
    let pin = ["placement", "create", "pin", "on", "--guest", "vm1", "--host", &home];
    done(&stage.drover(&pin));
    stage.stop_agent(if home == "h1" { 1 } else { 2 });
    let remove = ["host", "remove", &home, "--forget-guests"];
    refused(&stage.drover(&remove), 5, "conflict", "placement rule pin");
    done(&stage.drover(&["placement", "delete", "pin"]));
    done(&stage.drover(&remove));
    let rules = stage.json(&["placement", "list"]);
    assert_eq!(rules[0]["guests"], Value::Array(vec![]), "{rules}");
    assert!(rules[0]["why"].as_str().unwrap().contains("rests"), "{rules}");
}
